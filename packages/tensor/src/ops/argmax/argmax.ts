import { elementCount, rowCount, rowWidth } from '../../graph/dtype.ts';
import { expectDType, expectRank } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { rowLanes } from '../../wgsl/reduce.ts';
import { argmaxChunksKernel, argmaxKernel, argmaxMergeKernel } from './argmax.wgsl.ts';

/** Elements of a row that one workgroup scans where a row is split. */
const chunkElements = 4096;
/** The result for a row that holds a NaN. */
export const nanIndex = 0xffff_ffff;

/** `argmax` over the last axis. */
export const argmaxOperation = defineOperation({
  name: 'argmax',
  infer(operands) {
    const [x] = operands as readonly [Tensor];
    expectRank('argmax: x', x, 1);
    expectDType('argmax: x', x, ['f32']);
    return [{ shape: x.shape.slice(0, -1), dtype: 'u32' }];
  },
  reference([x]) {
    const width = rowWidth(x!.shape);
    const data = new Float64Array(x!.data.length / width);
    data.forEach((_, row) => {
      const values = x!.data.subarray(row * width, (row + 1) * width);
      let best = 0;
      values.forEach((value, i) => {
        if (value > values[best]!) best = i;
      });
      data[row] = values.some(Number.isNaN) ? nanIndex : best;
    });
    return [{ shape: x!.shape.slice(0, -1), dtype: 'u32', data }];
  },
  lower(lowering, { operands, outputs }) {
    const tensor = operands[0] as Tensor;
    const rows = rowCount(tensor.shape);
    const width = rowWidth(tensor.shape);
    const lanes = rowLanes(lowering.device, width);
    const [x, y] = [lowering.tensor(tensor), lowering.tensor(outputs[0]!)];
    const cost = { bytes: 4 * elementCount(tensor.shape), flops: elementCount(tensor.shape) };
    if (width <= 2 * chunkElements) {
      lowering.dispatch(argmaxKernel, {
        constants: { width, lanes },
        uniforms: { rows },
        bindings: { x, y },
        workgroups: grid(rows),
        ...cost,
      });
      return;
    }
    const chunks = Math.ceil(width / chunkElements);
    const parts = lowering.scratch(rows * chunks * 8, 'argmax parts');
    lowering.dispatch(argmaxChunksKernel, {
      constants: { width, chunk: chunkElements, lanes },
      uniforms: { rows },
      bindings: { x, parts },
      workgroups: grid(rows * chunks),
      ...cost,
    });
    lowering.dispatch(argmaxMergeKernel, {
      constants: { chunks, lanes: rowLanes(lowering.device, chunks) },
      uniforms: { rows },
      bindings: { parts, y },
      workgroups: grid(rows),
      bytes: rows * chunks * 8,
    });
  },
});

/**
 * Index of the largest element along the last axis; the lowest index wins among equals, both zeros being equal. A row that holds
 * a NaN gives {@link nanIndex} (0xffffffff), so that a NaN never passes for a token.
 *
 * @param x `[..., N]` f32.
 * @returns `[...]` u32.
 * @throws ShapeError or DTypeError for an operand that does not fit.
 */
export function argmax(x: Tensor): Tensor {
  return x.graph.apply(argmaxOperation, [x], {})[0]!;
}
