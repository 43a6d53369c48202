import type { Binding } from '@forerun/tensor';
import { defineKernel, drawTokenWgsl, read, write } from '@forerun/tensor';
import { sumPairsWgsl } from '../draw/draw.wgsl.ts';
import type { ChainRule } from './chain.reference.ts';
import { outcomeBindings } from '../verdict/outcome.ts';

/** Whether drafts come with the distribution that they were drawn from, or were certain. */
export type DraftKind = 'drawn' | 'certain';

interface ChainConstants {
  readonly width: number;
  readonly vocabSize: number;
  readonly lanes: number;
  readonly ensembleWeight: number;
}

const drafted: Record<DraftKind, (c: ChainConstants) => string> = {
  drawn: (c) => `return q[row * ${c.vocabSize}u + token];`,
  certain: (c) => `return select(0.0, 1.0, token == rowWords[min(row + 1u, ${c.width - 1}u)]);`,
};

/** `p(x)/q(x)` of the draft in each row; a draft that is no id is impossible. */
export const ratioWgsl = /* wgsl */ `
fn ratioOf(p: f32, q: f32) -> f32 {
  if (q > 0.0) { return p / q; }
  return select(0.0, 1.0e30, p > 0.0);
}`;

const distributionsWgsl = (c: ChainConstants, kind: DraftKind) => /* wgsl */ `
${ratioWgsl}
fn drafted(row: u32, token: u32) -> f32 { ${drafted[kind](c)} }
fn ratioAt(row: u32) -> f32 {
  let token = rowWords[row];
  if (token >= ${c.vocabSize}u) { return 0.0; }
  return ratioOf(p[(row - 1u) * ${c.vocabSize}u + token], drafted(row - 1u, token));
}`;

const thresholdWgsl: Record<ChainRule, (c: ChainConstants) => string> = {
  draft: (c) => /* wgsl */ `
  if (lane == 0u) {
    var threshold = 1.0;
    if (row > 0u) { threshold = ${1 - c.ensembleWeight}f + ${c.ensembleWeight}f * ratioAt(row); }
    scalars[row] = 1.0;
    scalars[${c.width}u + row] = threshold;
  }`,
  block: (c) => /* wgsl */ `
  var weight = 1.0;
  for (var i = 1u; i <= row; i++) { weight = min(weight * ratioAt(i), 1.0); }
  var mass = 0.0;
  for (var token = lane; token < ${c.vocabSize}u; token += ${c.lanes}u) {
    mass += max(fma(weight, p[row * ${c.vocabSize}u + token], -drafted(row, token)), 0.0);
  }
  let total = sumPairs(lane, vec2<f32>(mass, 0.0)).x;
  if (lane == 0u) {
    var threshold = 0.0;
    if (total > 0.0) { threshold = total / (total + (1.0 - weight)); }
    if (row + 1u == used) { threshold = weight; }
    scalars[row] = weight;
    scalars[${c.width}u + row] = threshold;
  }`,
};

const draftBinding = (kind: DraftKind): Record<string, Binding> => (kind === 'drawn' ? { q: read('f32') } : {});

/**
 * One workgroup a row: what the target weighs in the residual there, and with which probability a path that ends there is accepted:
 * two columns of `scalars`.
 */
export const chainThresholdsKernel = (rule: ChainRule, kind: DraftKind) =>
  defineKernel<ChainConstants, string>({
    name: `chain-thresholds-${rule}-${kind}`,
    bindings: {
      p: read('f32'),
      ...draftBinding(kind),
      rowWords: read('u32'),
      scalars: write('f32'),
    },
    wgsl: (c) => /* wgsl */ `
${distributionsWgsl(c, kind)}
${sumPairsWgsl(c.lanes)}
@compute @workgroup_size(${c.lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.x;
  let used = clamp(rowWords[${2 * c.width}u], 1u, ${c.width}u);
  ${thresholdWgsl[rule](c)}
}`,
  });

/** Rows accepted, by the uniforms: up to the first that fails, or to the last that does not. */
const acceptedWgsl: Record<ChainRule, string> = {
  draft: 'if (passes) { accepted = row; } else { break; }',
  block: 'if (passes) { accepted = row; }',
};

/** One workgroup: the accepted prefix, and a draw from what is left behind it. */
export const chainVerdictKernel = (rule: ChainRule, kind: DraftKind) =>
  defineKernel<ChainConstants, string>({
    name: `chain-verdict-${rule}-${kind}`,
    bindings: {
      p: read('f32'),
      ...draftBinding(kind),
      rowWords: read('u32'),
      scalars: read('f32'),
      uniforms: read('f32'),
      ...outcomeBindings,
    },
    wgsl: (c) => /* wgsl */ `
${distributionsWgsl(c, kind)}
var<workgroup> keptRow: u32;
var<private> last: u32;
var<private> used: u32;
var<private> weight: f32;
var<private> plain: bool;
fn weightOf(token: u32) -> f32 {
  let probability = p[last * ${c.vocabSize}u + token];
  if (plain) { return probability; }
  return max(fma(weight, probability, -drafted(last, token)), 0.0);
}
${drawTokenWgsl(c.vocabSize, c.lanes)}
@compute @workgroup_size(${c.lanes})
fn main(@builtin(local_invocation_index) lane: u32) {
  used = clamp(rowWords[${2 * c.width}u], 1u, ${c.width}u);
  if (lane == 0u) {
    var accepted = 0u;
    for (var row = 1u; row < used; row++) {
      let threshold = scalars[${c.width}u + row];
      let passes = threshold > 0.0 && uniforms[row - 1u] <= threshold;
      ${acceptedWgsl[rule]}
    }
    keptRow = accepted;
  }
  last = workgroupUniformLoad(&keptRow);
  weight = scalars[last];
  plain = last + 1u == used;
  let uniform01 = uniforms[${c.width}u + used - 1u];
  var token = drawToken(lane, uniform01);
  if (token == 0xffffffffu) {
    plain = true;
    token = drawToken(lane, uniform01);
  }
  for (var row = lane; row < ${c.width}u; row += ${c.lanes}u) { path[row] = select(0u, row, row <= last); }
  if (lane == 0u) {
    count[0] = last + 1u;
    next[0] = token;
  }
}`,
  });
