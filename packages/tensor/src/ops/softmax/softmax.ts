import { elementCount, rowCount, rowWidth } from '../../graph/dtype.ts';
import { expectDType, expectRank } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { rowLanes } from '../../wgsl/reduce.ts';
import { softmaxKernel } from './softmax.wgsl.ts';

/** `softmax` over the last axis. */
export const softmaxOperation = defineOperation({
  name: 'softmax',
  infer(operands) {
    const [x] = operands as readonly [Tensor];
    expectRank('softmax: x', x, 1);
    expectDType('softmax: x', x, ['f32']);
    return [{ shape: x.shape, dtype: 'f32' }];
  },
  reference([x]) {
    const width = rowWidth(x!.shape);
    const data = new Float64Array(x!.data.length);
    for (let begin = 0; begin < data.length; begin += width) {
      const row = x!.data.subarray(begin, begin + width).map((value) => (value < -1e30 ? -1e30 : value));
      const peak = row.reduce((a, b) => Math.max(a, b), -1e30);
      const sum = row.reduce((total, value) => total + Math.exp(value - peak), 0);
      row.forEach((value, i) => (data[begin + i] = Math.exp(value - peak) / sum));
    }
    return [{ shape: x!.shape, dtype: 'f32', data }];
  },
  lower(lowering, { operands, outputs }) {
    const x = operands[0] as Tensor;
    const rows = rowCount(x.shape);
    const width = rowWidth(x.shape);
    const elements = elementCount(x.shape);
    lowering.dispatch(softmaxKernel, {
      constants: { width, lanes: rowLanes(lowering.device, width) },
      uniforms: { rows },
      bindings: { x: lowering.tensor(x), y: lowering.tensor(outputs[0]!) },
      workgroups: grid(rows),
      bytes: 8 * elements,
      flops: 6 * elements,
    });
  },
});

/**
 * Softmax over the last axis: `y_i = exp(x_i - max x) / sum_j exp(x_j - max x)`. Values below -1e30 count as -1e30, so minus infinity is a probability of 0; a row that
 * is nothing else is uniform; a NaN makes its whole row NaN. Sums in f32 in an order that does not depend on the number of rows.
 *
 * @param x `[..., N]` f32.
 * @returns `[..., N]` f32; every row sums to 1.
 * @throws ShapeError or DTypeError for an operand that does not fit.
 */
export function softmax(x: Tensor): Tensor {
  return x.graph.apply(softmaxOperation, [x], {})[0]!;
}
