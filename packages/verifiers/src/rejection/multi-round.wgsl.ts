import type { Binding } from '@forerun/tensor';
import { defineKernel, drawTokenWgsl, read, readWrite } from '@forerun/tensor';
import { ratioWgsl } from '../chain/chain.wgsl.ts';
import { sumPairsWgsl } from '../draw/draw.wgsl.ts';
import type { DraftSource } from './multi-round.reference.ts';
import { outcomeBindings } from '../verdict/outcome.ts';

/** What a tree kernel is made for. */
export interface TreeConstants {
  readonly width: number;
  readonly vocabSize: number;
  readonly lanes: number;
}

/** Where a row's draft distribution is copied from. */
const copiedDraft: Record<DraftSource, (c: TreeConstants) => string> = {
  'with-replacement': (c) => `work[${c.vocabSize}u + token] = q[row * ${c.vocabSize}u + token];`,
  'without-replacement': (c) => `work[${c.vocabSize}u + token] = q[row * ${c.vocabSize}u + token];`,
  certain: () => '',
};

const draftProbability: Record<DraftSource, (c: TreeConstants) => string> = {
  'with-replacement': (c) => `work[${c.vocabSize}u + token] * draftScale`,
  'without-replacement': (c) => `work[${c.vocabSize}u + token] * draftScale`,
  certain: () => '1.0',
};

/** What is left of target and draft at a token after `rejected` was rejected. */
const leftOver: Record<DraftSource, (c: TreeConstants) => string> = {
  'with-replacement': (c) => `
    sums.x += keep(token, work[token] * targetScale - work[${c.vocabSize}u + token] * draftScale);
    sums.y += work[${c.vocabSize}u + token];`,
  'without-replacement': (c) => `
    sums.x += keep(token, work[token] * targetScale - work[${c.vocabSize}u + token] * draftScale);
    if (token == rejected) { work[${c.vocabSize}u + token] = 0.0; }
    sums.y += work[${c.vocabSize}u + token];`,
  certain: () => `
    sums.x += keep(token, select(work[token] * targetScale, 0.0, token == rejected));`,
};

/**
 * One workgroup walks the tree. Lane 0 goes on to the next child of the current row and decides; all lanes share the vocabulary-wide
 * work: taking a row's distributions up, and taking the draft's from the target's. Rows come in order, so that one pass over them sees
 * every child after its parent.
 */
export const multiRoundKernel = (source: DraftSource) =>
  defineKernel<TreeConstants, string>({
    name: `multi-round-${source}`,
    bindings: {
      p: read('f32'),
      ...((source === 'certain' ? {} : { q: read('f32') }) as Record<string, Binding>),
      rowWords: read('u32'),
      uniforms: read('f32'),
      work: readWrite('f32'),
      ...outcomeBindings,
    },
    wgsl: (c) => /* wgsl */ `
${ratioWgsl}
const accepted = 1u;
const refused = 2u;
const done = 3u;
var<workgroup> action: u32;
var<workgroup> current: u32;
var<workgroup> child: u32;
var<workgroup> depth: u32;
var<workgroup> tests: u32;
var<private> targetScale: f32;
var<private> draftScale: f32;
fn weightOf(token: u32) -> f32 { return work[token]; }
fn keep(token: u32, value: f32) -> f32 {
  work[token] = max(value, 0.0);
  return max(value, 0.0);
}
${sumPairsWgsl(c.lanes)}
${drawTokenWgsl(c.vocabSize, c.lanes)}
fn takeRow(row: u32, lane: u32) {
  targetScale = 1.0;
  draftScale = 1.0;
  for (var token = lane; token < ${c.vocabSize}u; token += ${c.lanes}u) {
    work[token] = p[row * ${c.vocabSize}u + token];
    ${copiedDraft[source](c)}
  }
}
fn reject(row: u32, rejected: u32, lane: u32) {
  var sums = vec2<f32>(0.0);
  for (var token = lane; token < ${c.vocabSize}u; token += ${c.lanes}u) {${leftOver[source](c)}
  }
  let totals = sumPairs(lane, sums);
  targetScale = 1.0 / max(totals.x, 1.0e-30);
  draftScale = select(0.0, 1.0 / max(totals.y, 1.0e-30), totals.y > 0.0);
  if (totals.x <= 0.0) {
    targetScale = 1.0;
    for (var token = lane; token < ${c.vocabSize}u; token += ${c.lanes}u) { work[token] = p[row * ${c.vocabSize}u + token]; }
  }
}
fn tokenOf(row: u32) -> u32 { return rowWords[row]; }
fn parentOf(row: u32) -> u32 { return rowWords[${c.width}u + row]; }
fn tryNextChild(used: u32) {
  action = done;
  for (var row = child + 1u; row < used; row++) {
    if (parentOf(row) != current) { continue; }
    child = row;
    action = refused;
    let token = tokenOf(row);
    let uniform01 = uniforms[tests];
    tests++;
    if (token >= ${c.vocabSize}u) { return; }
    let ratio = ratioOf(work[token] * targetScale, ${draftProbability[source](c)});
    if (ratio > 0.0 && uniform01 <= ratio) { action = accepted; }
    return;
  }
}
@compute @workgroup_size(${c.lanes})
fn main(@builtin(local_invocation_index) lane: u32) {
  let used = clamp(rowWords[${2 * c.width}u], 1u, ${c.width}u);
  for (var row = lane; row < ${c.width}u; row += ${c.lanes}u) { path[row] = 0u; }
  takeRow(0u, lane);
  for (var step = 0u; step < ${c.width}u; step++) {
    storageBarrier();
    workgroupBarrier();
    if (lane == 0u) { tryNextChild(used); }
    let decided = workgroupUniformLoad(&action);
    if (decided == done) { break; }
    if (decided == accepted) {
      takeRow(child, lane);
      if (lane == 0u) {
        current = child;
        depth++;
        path[depth] = child;
      }
    } else {
      reject(current, tokenOf(child), lane);
    }
  }
  storageBarrier();
  workgroupBarrier();
  let token = drawToken(lane, uniforms[${c.width}u + tests]);
  if (lane == 0u) {
    count[0] = depth + 1u;
    next[0] = token;
  }
}`,
  });
