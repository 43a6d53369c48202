import { elementCount } from '../../graph/dtype.ts';
import { expectDType, expectRank, expectShape } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { copyBlocks } from '../slice/copy-blocks.wgsl.ts';
import { writeRowsKernels } from '../write-rows/write-rows.wgsl.ts';

/** `scatter` along the first axis; operands `[x, slots, rows]`. */
export const scatterOperation = defineOperation({
  name: 'scatter',
  infer(operands) {
    const [x, slots, rows] = operands as readonly [Tensor, Tensor, Tensor];
    expectRank('scatterRows: x', x, 1);
    expectRank('scatterRows: slots', slots, 1);
    expectDType('scatterRows: slots', slots, ['u32']);
    expectShape('scatterRows: slots', slots, [elementCount(slots.shape)]);
    expectDType('scatterRows: rows', rows, [x.dtype]);
    expectShape('scatterRows: rows', rows, [slots.shape[0]!, ...x.shape.slice(1)]);
    return [{ shape: x.shape, dtype: x.dtype }];
  },
  reference([x, slots, rows]) {
    const width = elementCount(x!.shape.slice(1));
    const data = x!.data.slice();
    slots!.data.forEach((slot, m) => {
      if (slot < x!.shape[0]!) data.set(rows!.data.subarray(m * width, (m + 1) * width), slot * width);
    });
    return [{ shape: x!.shape, dtype: x!.dtype, data }];
  },
  lower(lowering, { operands, outputs }) {
    const [x, slots, rows] = operands as readonly [Tensor, Tensor, Tensor];
    const y = lowering.tensor(outputs[0]!);
    const span = elementCount(x.shape);
    const whole = { blocks: 1, span, fromStride: 0, toStride: 0 };
    copyBlocks(lowering, { from: lowering.tensor(x), to: y, ...whole, label: 'scatter base' });
    const width = elementCount(x.shape.slice(1));
    const words = width % 4 === 0 ? 4 : 1;
    const count = elementCount(rows.shape) / words;
    lowering.dispatch(writeRowsKernels[words].all, {
      constants: {},
      uniforms: { count, width: width / words, capacity: x.shape[0]! },
      bindings: { rows: lowering.tensor(rows), slots: lowering.tensor(slots), state: y },
      workgroups: grid(Math.ceil(count / 64)),
      label: 'scatter',
      bytes: 8 * elementCount(rows.shape),
    });
  },
});

/**
 * A copy of `x` with some rows replaced: `y[slots[m]] = rows[m]`, other rows as in x; slots past the end are skipped. Where a slot
 * comes twice it is open which row wins. To change a state use `writeRows`, which copies nothing.
 *
 * @param x `[N, D...]` of any dtype.
 * @param slots `[M]` u32.
 * @param rows `[M, D...]` of x's dtype.
 * @returns `[N, D...]`.
 * @throws ShapeError or DTypeError for operands that do not fit.
 */
export function scatterRows(x: Tensor, slots: Tensor, rows: Tensor): Tensor {
  return x.graph.apply(scatterOperation, [x, slots, rows], {})[0]!;
}
