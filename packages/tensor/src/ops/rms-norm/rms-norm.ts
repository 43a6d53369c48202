import { elementCount, rowCount, rowWidth } from '../../graph/dtype.ts';
import { expectDType, expectEpsilon, expectRank } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { grid } from '../../kernel/grid.ts';
import { rowLanes } from '../../wgsl/reduce.ts';
import { expectVectorWeight } from '../layer-norm/vector-weight.ts';
import { rmsNormKernel, rmsNormPlainKernel } from './rms-norm.wgsl.ts';

/** Attributes of the operation `rms-norm`. */
export interface RmsNormAttributes {
  readonly epsilon: number;
  readonly offset: 0 | 1;
}

/** `rms-norm` over the last axis; operands `[x]` or `[x, weight]`. */
export const rmsNormOperation = defineOperation<RmsNormAttributes>({
  name: 'rms-norm',
  infer(operands, { epsilon }) {
    const [x, weight] = operands as readonly [Tensor, Weight?];
    expectRank('rmsNorm: x', x, 1);
    expectDType('rmsNorm: x', x, ['f32']);
    if (weight) expectVectorWeight('rmsNorm: weight', weight, rowWidth(x.shape));
    expectEpsilon('rmsNorm', epsilon);
    return [{ shape: x.shape, dtype: 'f32' }];
  },
  reference([x, weight], { epsilon, offset }) {
    const width = rowWidth(x!.shape);
    const data = new Float64Array(x!.data.length);
    for (let begin = 0; begin < data.length; begin += width) {
      let squares = 0;
      for (let i = 0; i < width; i++) squares += x!.data[begin + i]! ** 2;
      const scale = 1 / Math.sqrt(squares / width + epsilon);
      for (let i = 0; i < width; i++) {
        data[begin + i] = x!.data[begin + i]! * scale * (weight ? weight.data[i]! + offset : 1);
      }
    }
    return [{ shape: x!.shape, dtype: 'f32', data }];
  },
  lower(lowering, { operands, outputs, attributes: { epsilon, offset } }) {
    const [x, weight] = operands as readonly [Tensor, Weight?];
    const rows = rowCount(x.shape);
    const width = rowWidth(x.shape);
    const elements = elementCount(x.shape);
    const request = {
      constants: { width, lanes: rowLanes(lowering.device, width) },
      workgroups: grid(rows),
      bytes: 4 * (2 * elements + (weight ? width : 0)),
      flops: 4 * elements,
    };
    const bindings = { x: lowering.tensor(x), y: lowering.tensor(outputs[0]!) };
    if (!weight) {
      lowering.dispatch(rmsNormPlainKernel, { ...request, uniforms: { rows, epsilon }, bindings });
      return;
    }
    const part = lowering.weight(weight)[0]!;
    lowering.dispatch(rmsNormKernel, {
      ...request,
      uniforms: { rows, epsilon, offset, weightBegin: part.rowOffset * width },
      bindings: { ...bindings, w: part.codes },
    });
  },
});

/**
 * Root-mean-square norm over the last axis: `y = x / sqrt(mean(x^2) + epsilon) * (w + offset)` (Zhang and Sennrich 2019,
 * arXiv:1910.07467). Sums in f32 in an order that does not depend on the number of rows.
 *
 * @param x `[..., D]` f32.
 * @param weight `[D]` f32, or undefined for none.
 * @param options `epsilon` as in the checkpoint's config; `offset` 1 where weights are stored less one (Gemma), else 0.
 * @returns `[..., D]` f32.
 * @throws ShapeError, DTypeError or ArgumentError for operands that do not fit.
 */
export function rmsNorm(
  x: Tensor,
  weight: Weight | undefined,
  options: { readonly epsilon: number; readonly offset?: 0 | 1 },
): Tensor {
  const { epsilon, offset = 0 } = options;
  return x.graph.apply(rmsNormOperation, weight ? [x, weight] : [x], { epsilon, offset })[0]!;
}
