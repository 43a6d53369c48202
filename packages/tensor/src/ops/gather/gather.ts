import { elementCount } from '../../graph/dtype.ts';
import { expectDType, expectRank } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { gatherKernels } from './gather.wgsl.ts';

/** `gather` along the first axis. */
export const gatherOperation = defineOperation({
  name: 'gather',
  infer(operands) {
    const [x, rows] = operands as readonly [Tensor, Tensor];
    expectRank('gather: x', x, 1);
    expectRank('gather: index', rows, 1);
    expectDType('gather: index', rows, ['u32']);
    return [{ shape: [...rows.shape, ...x.shape.slice(1)], dtype: x.dtype }];
  },
  reference([x, rows]) {
    const width = elementCount(x!.shape.slice(1));
    const data = new Float64Array(rows!.data.length * width);
    rows!.data.forEach((row, m) => {
      if (row < x!.shape[0]!) data.set(x!.data.subarray(row * width, (row + 1) * width), m * width);
    });
    return [{ shape: [...rows!.shape, ...x!.shape.slice(1)], dtype: x!.dtype, data }];
  },
  lower(lowering, { operands, outputs }) {
    const [x, rows] = operands as readonly [Tensor, Tensor];
    const width = elementCount(x.shape.slice(1));
    const words = width % 4 === 0 ? 4 : 1;
    const count = (elementCount(rows.shape) * width) / words;
    lowering.dispatch(gatherKernels[words], {
      constants: {},
      uniforms: { count, width: width / words, available: x.shape[0]! },
      bindings: { x: lowering.tensor(x), rows: lowering.tensor(rows), y: lowering.tensor(outputs[0]!) },
      workgroups: grid(Math.ceil(count / 64)),
      label: 'gather',
      bytes: 8 * count * words + 4 * elementCount(rows.shape),
    });
  },
});

/**
 * Rows of `x` in the order of `rows`: `y[m] = x[rows[m]]`; a row past the end is zeros.
 *
 * @param x `[N, D...]` of any dtype.
 * @param rows `[M]` u32.
 * @returns `[M, D...]` of x's dtype.
 * @throws ShapeError or DTypeError for operands that do not fit.
 */
export function gatherRows(x: Tensor, rows: Tensor): Tensor {
  expectRank('gatherRows: x', x, 2);
  return x.graph.apply(gatherOperation, [x, rows], {})[0]!;
}

/**
 * Elements of `x` in the order of `index`: `y[m] = x[index[m]]`; an index past the end gives 0.
 *
 * @param x `[N]` of any dtype.
 * @param index `[M...]` u32.
 * @returns `[M...]` of x's dtype.
 * @throws ShapeError or DTypeError for operands that do not fit.
 */
export function gather(x: Tensor, index: Tensor): Tensor {
  return x.graph.apply(gatherOperation, [x, index], {})[0]!;
}
