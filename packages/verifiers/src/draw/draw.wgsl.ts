import { defineKernel, noToken, read, write } from '@forerun/tensor';

/**
 * WGSL of `drawToken(lane, uniform) -> u32`: the first token at which the running sum of `weightOf(token)`, which the kernel has to
 * define, exceeds `uniform` times the total; 0xffffffff where all weights are 0. Each lane sums a stretch of the vocabulary, so the
 * order of additions is fixed. Call it in uniform control flow.
 */
export const drawWgsl = (vocabSize: number, lanes: number) => /* wgsl */ `
var<workgroup> massOfLane: array<f32, ${lanes}>;
var<workgroup> chosenLane: u32;
var<workgroup> massLeft: f32;
var<workgroup> drawn: u32;
fn drawToken(lane: u32, uniform01: f32) -> u32 {
  let begin = lane * ${Math.ceil(vocabSize / lanes)}u;
  let end = min(begin + ${Math.ceil(vocabSize / lanes)}u, ${vocabSize}u);
  var mass = 0.0;
  for (var token = begin; token < end; token++) { mass += weightOf(token); }
  massOfLane[lane] = mass;
  workgroupBarrier();
  if (lane == 0u) {
    var total = 0.0;
    for (var l = 0u; l < ${lanes}u; l++) { total += massOfLane[l]; }
    let goal = uniform01 * total;
    chosenLane = ${lanes}u;
    drawn = ${noToken}u;
    var before = 0.0;
    for (var l = 0u; l < ${lanes}u; l++) {
      if (massOfLane[l] > 0.0) {
        chosenLane = l;
        massLeft = goal - before;
        before += massOfLane[l];
        if (before > goal) { break; }
      }
    }
  }
  workgroupBarrier();
  if (lane == chosenLane) {
    var sum = 0.0;
    for (var token = begin; token < end; token++) {
      let weight = weightOf(token);
      if (weight <= 0.0) { continue; }
      drawn = token;
      sum += weight;
      if (sum > massLeft) { break; }
    }
  }
  return workgroupUniformLoad(&drawn);
}`;

/** WGSL of `sumPairs(lane, value) -> vec2<f32>`: the sum over the lanes in a fixed order. Call it in uniform control flow. */
export const sumPairsWgsl = (lanes: number) => /* wgsl */ `
var<workgroup> pairOfLane: array<vec2<f32>, ${lanes}>;
fn sumPairs(lane: u32, value: vec2<f32>) -> vec2<f32> {
  workgroupBarrier();
  pairOfLane[lane] = value;
  workgroupBarrier();
  if (lane == 0u) {
    var total = pairOfLane[0];
    for (var l = 1u; l < ${lanes}u; l++) { total += pairOfLane[l]; }
    pairOfLane[0] = total;
  }
  return workgroupUniformLoad(&pairOfLane[0]);
}`;

/** One workgroup a row. */
export const drawKernel = defineKernel({
  name: 'draw',
  bindings: { weights: read('f32'), uniforms: read('f32'), y: write('u32') },
  wgsl: ({ vocabSize, lanes }: { vocabSize: number; lanes: number }) => /* wgsl */ `
var<private> row: u32;
fn weightOf(token: u32) -> f32 { return weights[row * ${vocabSize}u + token]; }
${drawWgsl(vocabSize, lanes)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  row = workgroup.x;
  let token = drawToken(lane, uniforms[row]);
  if (lane == 0u) { y[row] = token; }
}`,
});
