import type { Tensor } from '@forerun/tensor';
import { defineOperation, DTypeError, noToken, ShapeError, shapeText, vocabularyLanes } from '@forerun/tensor';
import { inverseDraw } from '../chance/chance.ts';
import { drawKernel } from './draw.wgsl.ts';

const drawOperation = defineOperation({
  name: 'draw',
  infer: ([weights]) => [{ shape: [(weights as Tensor).shape[0]!], dtype: 'u32' }],
  reference([weights, uniforms]) {
    const [rows, vocabSize] = weights!.shape as [number, number];
    const data = Float64Array.from({ length: rows }, (_, row) => {
      const token = inverseDraw(weights!.data.subarray(row * vocabSize, (row + 1) * vocabSize), uniforms!.data[row]!);
      return token < 0 ? noToken : token;
    });
    return [{ shape: [rows], dtype: 'u32', data }];
  },
  lower(lowering, { operands, outputs }) {
    const [weights, uniforms] = operands as readonly [Tensor, Tensor];
    const [rows, vocabSize] = weights.shape as [number, number];
    lowering.dispatch(drawKernel, {
      constants: { vocabSize, lanes: vocabularyLanes(lowering.device, vocabSize) },
      bindings: {
        weights: lowering.tensor(weights),
        uniforms: lowering.tensor(uniforms),
        y: lowering.tensor(outputs[0]!),
      },
      workgroups: [rows, 1, 1],
      bytes: rows * vocabSize * 4,
    });
  },
});

/**
 * Draws a token of each row by inverting its distribution: the first at which `w_0 + … + w_i > u (w_0 + … + w_V-1)`.
 *
 * @param weights `[M, V]` f32, not negative; need not sum to 1
 * @param uniforms `[M]` f32 in [0, 1)
 * @returns `[M]` u32; 0xffffffff where a row is all 0
 * @throws {@link ShapeError}, {@link DTypeError} for operands that do not fit
 */
export function draw(weights: Tensor, uniforms: Tensor): Tensor {
  if (weights.shape.length !== 2 || uniforms.shape.length !== 1 || uniforms.shape[0] !== weights.shape[0]) {
    throw new ShapeError(
      `draw: expected weights [M, V] and uniforms [M], got ${shapeText(weights.shape)} and ${shapeText(uniforms.shape)}.`,
    );
  }
  if (weights.dtype !== 'f32' || uniforms.dtype !== 'f32') {
    throw new DTypeError(`draw: expected f32, got weights of ${weights.dtype} and uniforms of ${uniforms.dtype}.`);
  }
  return weights.graph.apply(drawOperation, [weights, uniforms], {})[0]!;
}
