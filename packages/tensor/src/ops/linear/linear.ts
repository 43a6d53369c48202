import { DTypeError, ShapeError } from '../../errors.ts';
import { rowWidth, shapeText } from '../../graph/dtype.ts';
import type { Operand } from '../../graph/operation.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { linearReference } from './linear.reference.ts';
import { linearKernels } from './lower-linear.ts';

function checkLinear(x: Tensor, weight: Weight, bias: Weight | undefined): void {
  const label = `linear with "${weight.name}"`;
  if (x.dtype !== 'f32') throw new DTypeError(`${label}: x must be f32, got ${x.dtype}; convert it with .to('f32').`);
  if (weight.shape.length !== 2) {
    throw new ShapeError(`${label}: the weight must be a matrix [N, K], got ${shapeText(weight.shape)}.`);
  }
  if (x.shape.length === 0 || rowWidth(x.shape) !== weight.width) {
    throw new ShapeError(
      `${label}: x must be [..., ${weight.width}] for a weight ${shapeText(weight.shape)}, got ${shapeText(x.shape)}.`,
    );
  }
  if (!bias) return;
  if (bias.shape.length !== 1 || bias.width !== weight.rows) {
    throw new ShapeError(`${label}: bias "${bias.name}" must be [${weight.rows}], got ${shapeText(bias.shape)}.`);
  }
  if (bias.format !== 'f32')
    throw new DTypeError(`${label}: bias "${bias.name}" must be stored in f32, not ${bias.format}.`);
}

/** Operands: x, weight, and the bias if there is one. */
export const linearOperation = defineOperation({
  name: 'linear',
  infer([x, weight, bias]) {
    checkLinear(x as Tensor, weight as Weight, bias as Weight | undefined);
    return [{ shape: [...(x as Tensor).shape.slice(0, -1), (weight as Weight).rows], dtype: 'f32' }];
  },
  reference: ([x, weight, bias]) => [linearReference(x!, weight!, bias)],
  ...linearKernels(({ operands, outputs }) => {
    const [x, weight, bias] = operands as readonly [Tensor, Weight, Weight?];
    return { x, weights: [weight], biases: [bias], outputs };
  }),
});

/**
 * `y = x · wᵀ + bias`: each row of `x` times each row of the weight. Products and sums are f32 whatever the weight's format, unless
 * the graph is compiled with `arithmetic: 'f16'` or `'i8'`. Up to 64 rows, a row's bits do not depend on how many rows there are.
 *
 * @param x - `[..., K]`, f32.
 * @param weight - `[N, K]` in any format; tables larger than a binding may lie in several parts.
 * @param bias - `[N]`, stored in f32.
 * @returns `[..., N]`, f32.
 * @throws ShapeError if the shapes do not fit; DTypeError if `x` or the bias is not f32.
 */
export function linear(x: Tensor, weight: Weight, bias?: Weight): Tensor {
  const operands: readonly Operand[] = bias ? [x, weight, bias] : [x, weight];
  return x.graph.apply(linearOperation, operands, {})[0]!;
}
