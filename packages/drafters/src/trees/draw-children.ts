import type { NdArray, Tensor } from '@forerun/tensor';
import {
  defineKernel,
  defineOperation,
  drawTokenWgsl,
  noToken,
  read,
  ShapeError,
  shapeText,
  vocabularyLanes,
  write,
} from '@forerun/tensor';

/** Most children that can be drawn of one node. */
export const maxDrawnChildren = 63;

/**
 * One workgroup a row. What was drawn before counts as 0, so that every draw is an inversion of what is left.
 */
const drawChildrenKernel = defineKernel({
  name: 'draw-children',
  bindings: { weights: read('f32'), uniforms: read('f32'), y: write('u32') },
  wgsl: ({ vocabSize, ranks, lanes }: { vocabSize: number; ranks: number; lanes: number }) => /* wgsl */ `
var<private> row: u32;
var<private> rank: u32;
var<workgroup> taken: array<u32, ${ranks}>;
fn weightOf(token: u32) -> f32 {
  for (var i = 0u; i < rank; i++) { if (taken[i] == token) { return 0.0; } }
  return weights[row * ${vocabSize}u + token];
}
${drawTokenWgsl(vocabSize, lanes)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  row = workgroup.x;
  for (var turn = 0u; turn < ${ranks}u; turn++) {
    rank = turn;
    let token = drawToken(lane, uniforms[row * ${ranks}u + turn]);
    if (lane == 0u) { taken[turn] = token; }
    workgroupBarrier();
  }
  for (var i = lane; i < ${ranks}u; i += ${lanes}u) { y[row * ${ranks}u + i] = taken[i]; }
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
    const lanes = vocabularyLanes(lowering.device, vocabSize);
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
