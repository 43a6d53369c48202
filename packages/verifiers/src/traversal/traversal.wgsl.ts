import { defineKernel, drawTokenWgsl, read, readWrite } from '@forerun/tensor';
import { ratioWgsl } from '../chain/chain.wgsl.ts';
import { sumPairsWgsl } from '../draw/draw.wgsl.ts';
import type { TreeConstants } from '../rejection/multi-round.wgsl.ts';
import { outcomeBindings } from '../verdict/outcome.ts';

/**
 * One workgroup. Lane 0 goes down to the first leaf and decides about it; all lanes take the draft's distribution from the target's
 * where a leaf was removed. Only nodes on the current path have distributions that differ from their rows', one for each depth.
 */
export const traversalKernel = defineKernel({
  name: 'traversal',
  bindings: {
    p: read('f32'),
    q: read('f32'),
    rowWords: read('u32'),
    uniforms: read('f32'),
    work: readWrite('f32'),
    ...outcomeBindings,
  },
  wgsl: (c: TreeConstants & { readonly levels: number }) => /* wgsl */ `
${ratioWgsl}
var<workgroup> removed: u32;
var<workgroup> level: u32;
var<workgroup> tests: u32;
var<workgroup> rowAt: array<u32, ${c.levels}>;
var<workgroup> childAt: array<u32, ${c.levels}>;
var<workgroup> changedAt: array<u32, ${c.levels}>;
var<workgroup> weightAt: array<f32, ${c.levels}>;
var<workgroup> scaleAt: array<vec2<f32>, ${c.levels}>;
var<private> plain: bool;
fn targetAt(depth: u32, token: u32) -> f32 {
  if (changedAt[depth] == 0u || plain) { return p[rowAt[depth] * ${c.vocabSize}u + token]; }
  return work[depth * ${2 * c.vocabSize}u + token] * scaleAt[depth].x;
}
fn draftAt(depth: u32, token: u32) -> f32 {
  if (changedAt[depth] == 0u) { return q[rowAt[depth] * ${c.vocabSize}u + token]; }
  return work[depth * ${2 * c.vocabSize}u + ${c.vocabSize}u + token] * scaleAt[depth].y;
}
fn weightOf(token: u32) -> f32 { return targetAt(level, token); }
${sumPairsWgsl(c.lanes)}
${drawTokenWgsl(c.vocabSize, c.lanes)}
fn enter(depth: u32, row: u32, weight: f32) {
  level = depth;
  rowAt[depth] = row;
  childAt[depth] = row;
  changedAt[depth] = 0u;
  weightAt[depth] = weight;
}
// Goes down to the first leaf; 1 if it is not accepted.
fn refuseLeaf(used: u32) -> u32 {
  for (var step = 0u; step < ${c.width}u; step++) {
    var child = childAt[level] + 1u;
    while (child < used && rowWords[${c.width}u + child] != rowAt[level]) { child++; }
    if (child >= used || level + 1u >= ${c.levels}u) { break; }
    childAt[level] = child;
    let token = rowWords[child];
    var weight = 0.0;
    if (token < ${c.vocabSize}u) { weight = min(weightAt[level] * ratioOf(targetAt(level, token), draftAt(level, token)), 1.0); }
    enter(level + 1u, child, weight);
  }
  if (level == 0u) { return 0u; }
  let uniform01 = uniforms[tests];
  tests++;
  return select(1u, 0u, weightAt[level] > 0.0 && uniform01 <= weightAt[level]);
}
fn removeLeaf(lane: u32) {
  let depth = level - 1u;
  let token = rowWords[rowAt[level]];
  let weight = weightAt[depth];
  var sums = vec2<f32>(0.0);
  for (var one = lane; one < ${c.vocabSize}u; one += ${c.lanes}u) {
    let draft = draftAt(depth, one);
    let left = vec2<f32>(max(fma(weight, targetAt(depth, one), -draft), 0.0), select(draft, 0.0, one == token));
    work[depth * ${2 * c.vocabSize}u + one] = left.x;
    work[depth * ${2 * c.vocabSize}u + ${c.vocabSize}u + one] = left.y;
    sums += left;
  }
  let totals = sumPairs(lane, sums);
  if (lane == 0u) {
    level = depth;
    changedAt[depth] = 1u;
    scaleAt[depth] = select(vec2<f32>(0.0), 1.0 / max(totals, vec2<f32>(1.0e-30)), totals > vec2<f32>(0.0));
    weightAt[depth] = select(0.0, totals.x / (totals.x + (1.0 - weight)), totals.x > 0.0);
  }
}
@compute @workgroup_size(${c.lanes})
fn main(@builtin(local_invocation_index) lane: u32) {
  let used = clamp(rowWords[${2 * c.width}u], 1u, ${c.width}u);
  if (lane == 0u) { enter(0u, 0u, 1.0); }
  for (var step = 0u; step < ${c.width}u; step++) {
    storageBarrier();
    workgroupBarrier();
    if (lane == 0u) { removed = refuseLeaf(used); }
    if (workgroupUniformLoad(&removed) == 0u) { break; }
    removeLeaf(lane);
  }
  storageBarrier();
  workgroupBarrier();
  let uniform01 = uniforms[${c.width}u + tests];
  var token = drawToken(lane, uniform01);
  if (token == 0xffffffffu) {
    plain = true;
    token = drawToken(lane, uniform01);
  }
  for (var depth = lane; depth < ${c.width}u; depth += ${c.lanes}u) {
    var row = 0u;
    if (depth <= level) { row = rowAt[min(depth, ${c.levels - 1}u)]; }
    path[depth] = row;
  }
  if (lane == 0u) {
    count[0] = level + 1u;
    next[0] = token;
  }
}`,
});
