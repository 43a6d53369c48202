import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { philoxWgsl } from '../../wgsl/philox.ts';
import { noiseKind } from '../noise/noise.reference.ts';
import type { PathKind } from '../penalties/penalties.wgsl.ts';
import { pathBindings, pathWgsl, penaliseWgsl, settingsBinding } from '../penalties/penalties.wgsl.ts';
import { drawWgsl, filterWgsl } from './filter.wgsl.ts';

const scanLanes = 64;
/** Blocks of four tokens that an invocation of the first pass looks at. */
const blocksPerLane = (vocabSize: number) => (vocabSize <= 32_768 ? 4 : 8);
/** Workgroups of the first pass for a row. */
export const scanWorkgroups = (vocabSize: number) => Math.ceil(vocabSize / (4 * blocksPerLane(vocabSize) * scanLanes));
/** Partial results of the first pass for a row: one an invocation. */
export const scanPartials = (vocabSize: number) => scanWorkgroups(vocabSize) * scanLanes;

/** Invocations of the second pass by vocabulary: few where there is little to do, since each costs a fiber on software adapters. */
export const pickLanes = (vocabSize: number) =>
  [16_384, 2048, 256].reduce((lanes, limit) => (vocabSize > limit ? lanes : lanes / 4), 256);

/** What both kernels are made for. */
export interface SampleConstants {
  readonly vocabSize: number;
  /** `greedy`: the temperature is ignored and the most likely token taken. */
  readonly choice: 'greedy' | 'drawn';
  /** Stream of the noise. */
  readonly stream: number;
}

/**
 * Floats as u32 in the same order, so that they can be compared, searched bit by bit and combined with atomics. 0 stands for a token
 * that cannot be chosen (a logit of -infinity). NaN and +infinity are told by their bits: WGSL may assume that neither occurs.
 */
export const keyWgsl = /* wgsl */ `
fn orderedKey(bits: u32) -> u32 {
  if (bits == 0xff800000u) { return 0u; }
  if (bits == 0x80000000u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}
fn isBroken(bits: u32) -> bool { return (bits & 0x7fffffffu) > 0x7f800000u || bits == 0x7f800000u; }
`;

const temperatureWgsl = { greedy: '0.0', drawn: 'bitcast<f32>(settings[0].x)' };

/** The settings as both kernels ask for them; all uniform. */
export const settingsWgsl = (choice: keyof typeof temperatureWgsl) => /* wgsl */ `
fn temperature() -> f32 { return ${temperatureWgsl[choice]}; }
fn topK() -> u32 { return settings[0].y; }
fn topP() -> f32 { return bitcast<f32>(settings[0].z); }
fn minP() -> f32 { return bitcast<f32>(settings[0].w); }
fn isPenalised() -> bool { return settings[2].y != 0u; }
fn usesTopP() -> bool { return topP() > 0.0 && topP() < 1.0; }
fn isFiltered() -> bool { return temperature() > 0.0 && (topK() > 0u || usesTopP() || minP() > 0.0); }
fn seed() -> vec2<u32> { return vec2<u32>(settings[1].w, settings[2].x); }
`;

const noiseWgsl = (stream: number) => /* wgsl */ `
fn noiseBlock(block: u32, position: u32) -> vec4<u32> {
  return philox(vec4<u32>(block, position, ${stream}u, ${noiseKind.gumbel}u), seed());
}
`;

/** How a block of the first pass gets its noise: keyed by the row's position, or not at all where only logits are compared. */
const noiseWords = { drawn: 'if (noisy) { words = noiseBlock(block, positions[row]); }', plain: '' };

/**
 * First pass, an invocation for a few tokens of a row and no barrier: penalties, then the best score with its lowest token, and the
 * largest logit. Scores are `z` (greedy) or `z / T + gumbel`; with filters on, only the largest logit is needed yet.
 * With `plain` scores no positions are bound, and the choice has to be greedy.
 * Partial results: score key, ~token, largest key, whether anything was broken.
 */
export function sampleScanKernel(path: PathKind, scores: keyof typeof noiseWords = 'drawn') {
  const bindings: Record<string, Binding> = {
    logits: read('u32'),
    counts: read('u32'),
    ...(scores === 'drawn' ? { positions: read('u32') } : {}),
    ...pathBindings[path],
    penalised: write('f32'),
    partial: write('vec4<u32>'),
    settings: settingsBinding,
  };
  return defineKernel({
    name: `sample-scan-${path}-${scores}`,
    bindings,
    wgsl: (c: SampleConstants) => /* wgsl */ `
${philoxWgsl}${keyWgsl}${settingsWgsl(c.choice)}${noiseWgsl(c.stream)}
${penaliseWgsl(c.vocabSize)}${pathWgsl(path, blocksPerLane(c.vocabSize))}
@compute @workgroup_size(${scanLanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.y;
  let first = workgroup.x * ${blocksPerLane(c.vocabSize) * scanLanes}u + lane;
  if (isPenalised()) { countPath(row, first, ${scanLanes}u); }
  let noisy = temperature() > 0.0 && !isFiltered();
  let inverse = 1.0 / max(temperature(), 1.0e-6);
  var bestKey = 0u;
  var bestToken = 0xffffffffu;
  var topKey = 0u;
  var broken = 0u;
  for (var turn = 0u; turn < ${blocksPerLane(c.vocabSize)}u; turn++) {
    let block = first + turn * ${scanLanes}u;
    if (block * 4u >= ${c.vocabSize}u) { break; }
    var words = vec4<u32>(0u);
    ${noiseWords[scores]}
    for (var k = 0u; k < 4u; k++) {
      let token = block * 4u + k;
      if (token >= ${c.vocabSize}u) { break; }
      let i = row * ${c.vocabSize}u + token;
      var bits = logits[i];
      if (isBroken(bits)) { broken = 1u; }
      if (isPenalised()) {
        if (bits != 0xff800000u) { bits = bitcast<u32>(penalise(bitcast<f32>(bits), token, hits[turn * 4u + k])); }
        penalised[i] = bitcast<f32>(bits);
      }
      let key = orderedKey(bits);
      topKey = max(topKey, key);
      var score = key;
      if (noisy && key != 0u) { score = orderedKey(bitcast<u32>(fma(bitcast<f32>(bits), inverse, gumbelOf(words[k])))); }
      if (score > bestKey) {
        bestKey = score;
        bestToken = token;
      }
    }
  }
  partial[row * ${scanPartials(c.vocabSize)}u + workgroup.x * ${scanLanes}u + lane] = vec4<u32>(bestKey, ~bestToken, topKey, broken);
}`,
  });
}

/** What kernels behind the scan read of it and of the logits. */
export const scannedBindings = { logits: read('u32'), penalised: read('u32'), partial: read('vec4<u32>') };

/** WGSL globals of such kernels: what the scan's partial results come to, and the bits of a logit after penalties. */
export const scannedGlobalsWgsl = (vocabSize: number) => /* wgsl */ `
var<workgroup> bestKey: atomic<u32>;
var<workgroup> bestToken: atomic<u32>;
var<workgroup> topKey: atomic<u32>;
var<workgroup> broken: atomic<u32>;
fn logitBits(row: u32, token: u32) -> u32 {
  let i = row * ${vocabSize}u + token;
  if (isPenalised()) { return penalised[i]; }
  return logits[i];
}`;

/** WGSL at the head of their `main`: the row of the workgroup, and its partial results put together in the globals but `bestToken`. */
export const mergeScanWgsl = (vocabSize: number) => /* wgsl */ `
  let row = workgroup.x;
  let partials = ${Math.min(scanPartials(vocabSize), Math.ceil(vocabSize / 4))}u;
  let base = row * ${scanPartials(vocabSize)}u;
  for (var s = lane; s < partials; s += ${pickLanes(vocabSize)}u) {
    let found = partial[base + s];
    atomicMax(&bestKey, found.x);
    atomicMax(&topKey, found.z);
    atomicOr(&broken, found.w);
  }
  workgroupBarrier();`;

/** Second pass, one workgroup a row: combines what the first found, or, with filters on, finds the support and draws from it. */
export const samplePickKernel = defineKernel({
  name: 'sample-pick',
  bindings: {
    ...scannedBindings,
    positions: read('u32'),
    y: write('u32'),
    settings: settingsBinding,
  },
  wgsl: (c: SampleConstants) => /* wgsl */ `
${philoxWgsl}${keyWgsl}${settingsWgsl(c.choice)}${noiseWgsl(c.stream)}
${scannedGlobalsWgsl(c.vocabSize)}
${filterWgsl(c.vocabSize, pickLanes(c.vocabSize))}${drawWgsl(c.vocabSize, pickLanes(c.vocabSize))}
@compute @workgroup_size(${pickLanes(c.vocabSize)})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
${mergeScanWgsl(c.vocabSize)}
  if (isFiltered()) {
    drawFromSupport(row, lane, positions[row]);
  } else {
    for (var s = lane; s < partials; s += ${pickLanes(c.vocabSize)}u) {
      let found = partial[base + s];
      if (found.x == atomicLoad(&bestKey)) { atomicMax(&bestToken, found.y); }
    }
  }
  workgroupBarrier();
  if (lane == 0u) {
    let failed = atomicLoad(&broken) != 0u || atomicLoad(&topKey) == 0u;
    y[row] = select(~atomicLoad(&bestToken), 0xffffffffu, failed);
  }
}`,
});
