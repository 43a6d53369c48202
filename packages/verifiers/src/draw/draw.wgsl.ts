import { defineKernel, drawTokenWgsl, read, write } from '@forerun/tensor';

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
${drawTokenWgsl(vocabSize, lanes)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  row = workgroup.x;
  let token = drawToken(lane, uniforms[row]);
  if (lane == 0u) { y[row] = token; }
}`,
});
