import type { NdArray, Tensor } from '@forerun/tensor';
import { defineKernel, defineOperation, noToken, read, ShapeError, shapeText, write } from '@forerun/tensor';

/** Most children that can be drawn of one node. */
export const maxDrawnChildren = 63;

/**
 * One workgroup a row. Each lane sums a stretch of the vocabulary in order, and what was drawn before counts as 0, so that every draw
 * is an inversion of what is left.
 */
const drawChildrenKernel = defineKernel({
  name: 'draw-children',
  bindings: { weights: read('f32'), uniforms: read('f32'), y: write('u32') },
  wgsl: ({ vocabSize, ranks, lanes }: { vocabSize: number; ranks: number; lanes: number }) => /* wgsl */ `
var<workgroup> taken: array<u32, ${ranks}>;
var<workgroup> massOfLane: array<f32, ${lanes}>;
var<workgroup> chosenLane: u32;
var<workgroup> massLeft: f32;
fn weightOf(row: u32, token: u32, before: u32) -> f32 {
  for (var i = 0u; i < before; i++) { if (taken[i] == token) { return 0.0; } }
  return weights[row * ${vocabSize}u + token];
}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.x;
  let begin = min(lane * ${Math.ceil(vocabSize / lanes)}u, ${vocabSize}u);
  let end = min(begin + ${Math.ceil(vocabSize / lanes)}u, ${vocabSize}u);
  for (var rank = 0u; rank < ${ranks}u; rank++) {
    var mass = 0.0;
    for (var token = begin; token < end; token++) { mass += weightOf(row, token, rank); }
    massOfLane[lane] = mass;
    workgroupBarrier();
    if (lane == 0u) {
      var total = 0.0;
      for (var l = 0u; l < ${lanes}u; l++) { total += massOfLane[l]; }
      let goal = uniforms[row * ${ranks}u + rank] * total;
      chosenLane = ${lanes}u;
      taken[rank] = ${noToken}u;
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
      var drawn = ${noToken}u;
      for (var token = begin; token < end; token++) {
        let weight = weightOf(row, token, rank);
        if (weight <= 0.0) { continue; }
        drawn = token;
        sum += weight;
        if (sum > massLeft) { break; }
      }
      taken[rank] = drawn;
    }
    workgroupBarrier();
  }
  for (var rank = lane; rank < ${ranks}u; rank += ${lanes}u) { y[row * ${ranks}u + rank] = taken[rank]; }
}`,
});

function drawnInOrder(weights: Float64Array, uniforms: Float64Array): number[] {
  const left = Float64Array.from(weights);
  return Array.from(uniforms, (uniform) => {
    const goal = uniform * left.reduce((sum, weight) => sum + weight, 0);
    let [sum, drawn] = [0, noToken];
    for (let token = 0; token < left.length; token++) {
      if (left[token]! <= 0) continue;
      drawn = token;
      sum += left[token]!;
      if (sum > goal) break;
    }
    if (drawn !== noToken) left[drawn] = 0;
    return drawn;
  });
}

const drawChildrenOperation = defineOperation({
  name: 'draw-children',
  infer: ([, uniforms]) => [{ shape: (uniforms as Tensor).shape, dtype: 'u32' }],
  reference([weights, uniforms]) {
    const [rows, ranks] = uniforms!.shape as [number, number];
    const vocabSize = weights!.shape[1]!;
    const data = Float64Array.from(
      Array.from({ length: rows }, (_, row) =>
        drawnInOrder(
          weights!.data.subarray(row * vocabSize, (row + 1) * vocabSize),
          uniforms!.data.subarray(row * ranks, (row + 1) * ranks),
        ),
      ).flat(),
    );
    return [{ shape: uniforms!.shape, dtype: 'u32', data } satisfies NdArray];
  },
  lower(lowering, { operands, outputs }) {
    const [weights, uniforms] = operands as readonly [Tensor, Tensor];
    const [rows, ranks] = uniforms.shape as [number, number];
    const vocabSize = weights.shape[1]!;
    // A software adapter pays for each invocation at every barrier.
    const lanes = lowering.device.adapter.kind === 'software' ? 4 : vocabSize >= 1024 ? 256 : 64;
    lowering.dispatch(drawChildrenKernel, {
      constants: { vocabSize, ranks, lanes },
      bindings: {
        weights: lowering.tensor(weights),
        uniforms: lowering.tensor(uniforms),
        y: lowering.tensor(outputs[0]!),
      },
      workgroups: [rows, 1, 1],
      bytes: rows * ranks * vocabSize * 4,
    });
  },
});

/**
 * Draws tokens of each row without putting any back, each by inverting what is left of the row at its uniform: the first token at which
 * the running sum exceeds `u` times the total.
 *
 * @param weights `[M, V]` f32, not negative; need not sum to 1
 * @param uniforms `[M, k]` f32 in [0, 1), in the order of the draws
 * @returns `[M, k]` u32, in the order of the draws; 0xffffffff where nothing was left
 * @throws {@link ShapeError} for operands that do not fit
 */
export function drawChildren(weights: Tensor, uniforms: Tensor): Tensor {
  const ranks = uniforms.shape[1] ?? 0;
  if (
    weights.shape.length !== 2 ||
    uniforms.shape.length !== 2 ||
    weights.shape[0] !== uniforms.shape[0] ||
    ranks < 1 ||
    ranks > maxDrawnChildren
  ) {
    throw new ShapeError(
      `drawChildren: expected weights [M, V] and uniforms [M, k] with k from 1 to ${maxDrawnChildren}, got ${shapeText(weights.shape)} and ${shapeText(uniforms.shape)}.`,
    );
  }
  return weights.graph.apply(drawChildrenOperation, [weights, uniforms], {})[0]!;
}
