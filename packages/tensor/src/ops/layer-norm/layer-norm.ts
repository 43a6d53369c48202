import { ArgumentError } from '../../errors.ts';
import { elementCount, rowCount, rowWidth } from '../../graph/dtype.ts';
import { expectDType, expectEpsilon, expectRank } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { grid } from '../../kernel/grid.ts';
import { rowLanes } from '../../wgsl/reduce.ts';
import { layerNormKernel, layerNormPlainKernel, layerNormScaleKernel } from './layer-norm.wgsl.ts';
import { expectVectorWeight } from './vector-weight.ts';

/** `layer-norm` over the last axis; operands `[x]`, `[x, weight]` or `[x, weight, bias]`. */
export const layerNormOperation = defineOperation<{ readonly epsilon: number }>({
  name: 'layer-norm',
  infer(operands, { epsilon }) {
    const [x, weight, bias] = operands as readonly [Tensor, Weight?, Weight?];
    expectRank('layerNorm: x', x, 1);
    expectDType('layerNorm: x', x, ['f32']);
    if (weight) expectVectorWeight('layerNorm: weight', weight, rowWidth(x.shape));
    if (bias) expectVectorWeight('layerNorm: bias', bias, rowWidth(x.shape));
    expectEpsilon('layerNorm', epsilon);
    return [{ shape: x.shape, dtype: 'f32' }];
  },
  reference([x, weight, bias], { epsilon }) {
    const width = rowWidth(x!.shape);
    const data = new Float64Array(x!.data.length);
    for (let begin = 0; begin < data.length; begin += width) {
      const row = x!.data.subarray(begin, begin + width);
      const mean = row.reduce((sum, value) => sum + value, 0) / width;
      const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width;
      for (let i = 0; i < width; i++) {
        const normed = (row[i]! - mean) / Math.sqrt(variance + epsilon);
        data[begin + i] = normed * (weight?.data[i] ?? 1) + (bias?.data[i] ?? 0);
      }
    }
    return [{ shape: x!.shape, dtype: 'f32', data }];
  },
  lower(lowering, { operands, outputs, attributes: { epsilon } }) {
    const [x, weight, bias] = operands as readonly [Tensor, Weight?, Weight?];
    const rows = rowCount(x.shape);
    const width = rowWidth(x.shape);
    const elements = elementCount(x.shape);
    const request = {
      constants: { width, lanes: rowLanes(lowering.device, width) },
      workgroups: grid(rows),
      bytes: 4 * (2 * elements + (operands.length - 1) * width),
      flops: 8 * elements,
    };
    const xy = { x: lowering.tensor(x), y: lowering.tensor(outputs[0]!) };
    if (!weight) {
      lowering.dispatch(layerNormPlainKernel, { ...request, uniforms: { rows, epsilon }, bindings: xy });
      return;
    }
    const w = lowering.weight(weight)[0]!;
    const weightBegin = w.rowOffset * width;
    if (!bias) {
      lowering.dispatch(layerNormScaleKernel, {
        ...request,
        uniforms: { rows, epsilon, weightBegin },
        bindings: { ...xy, w: w.codes },
      });
      return;
    }
    const b = lowering.weight(bias)[0]!;
    lowering.dispatch(layerNormKernel, {
      ...request,
      uniforms: { rows, epsilon, weightBegin, biasBegin: b.rowOffset * width },
      bindings: { ...xy, w: w.codes, b: b.codes },
    });
  },
});

/**
 * Layer norm over the last axis: `y = (x - mean) / sqrt(variance + epsilon) * w + b`, the variance being the mean squared
 * deviation (Ba, Kiros and Hinton 2016, arXiv:1607.06450). Sums in f32 in an order that does not depend on the number of rows.
 *
 * @param x `[..., D]` f32.
 * @param weight `[D]` f32, or undefined for none.
 * @param bias `[D]` f32, or undefined for none; a bias needs a weight.
 * @returns `[..., D]` f32.
 * @throws ShapeError, DTypeError or ArgumentError for operands that do not fit.
 */
export function layerNorm(
  x: Tensor,
  weight: Weight | undefined,
  bias: Weight | undefined,
  { epsilon }: { readonly epsilon: number },
): Tensor {
  if (bias && !weight) {
    throw new ArgumentError(
      'layerNorm: expected a weight beside the bias, got a bias alone; add the bias to the norm with .add().',
    );
  }
  const operands = [x, weight, bias].filter((operand) => operand !== undefined);
  return x.graph.apply(layerNormOperation, operands, { epsilon })[0]!;
}
