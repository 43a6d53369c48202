import { elementCount } from '../../graph/dtype.ts';
import { expectInteger, expectRank } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { copyBlocks } from './copy-blocks.wgsl.ts';

/** Attributes of the operation `slice`. */
export interface SliceAttributes {
  readonly axis: number;
  readonly begin: number;
  readonly end: number;
}

/** Offsets at which part of a buffer can be bound are multiples of this on every device. */
export const bindingAlignmentBytes = 256;

const outerInner = (shape: readonly number[], axis: number) =>
  [elementCount(shape.slice(0, axis)), elementCount(shape.slice(axis + 1))] as const;

/** `slice` of one axis; another name for part of the buffer where that can be bound alone, else a copy. */
export const sliceOperation = defineOperation<SliceAttributes>({
  name: 'slice',
  infer(operands, { axis, begin, end }) {
    const [x] = operands as readonly [Tensor];
    expectRank('slice: x', x, 1);
    expectInteger('slice: axis', axis, [0, x.shape.length - 1]);
    expectInteger('slice: begin', begin, [0, x.shape[axis]! - 1]);
    expectInteger('slice: end', end, [begin + 1, x.shape[axis]!]);
    return [{ shape: x.shape.with(axis, end - begin), dtype: x.dtype }];
  },
  reference([x], { axis, begin, end }) {
    const [outer, inner] = outerInner(x!.shape, axis);
    const shape = x!.shape.with(axis, end - begin);
    const data = new Float64Array(elementCount(shape));
    const span = (end - begin) * inner;
    for (let block = 0; block < outer; block++) {
      const from = (block * x!.shape[axis]! + begin) * inner;
      data.set(x!.data.subarray(from, from + span), block * span);
    }
    return [{ shape, dtype: x!.dtype, data }];
  },
  lower(lowering, { operands, outputs, attributes: { axis, begin, end } }) {
    const x = operands[0] as Tensor;
    const [outer, inner] = outerInner(x.shape, axis);
    const view = lowering.tensor(x);
    const offsetBytes = begin * inner * 4;
    if (outer === 1 && offsetBytes % bindingAlignmentBytes === 0) {
      lowering.alias(outputs[0]!, { source: view.source, offsetBytes: (view.offsetBytes ?? 0) + offsetBytes });
      return;
    }
    copyBlocks(lowering, {
      from: view,
      to: lowering.tensor(outputs[0]!),
      blocks: outer,
      span: (end - begin) * inner,
      fromBegin: begin * inner,
      fromStride: x.shape[axis]! * inner,
      toStride: (end - begin) * inner,
      label: 'slice',
    });
  },
});

/**
 * Elements `begin ..< end` of one axis. Costs nothing where the part starts at a multiple of 256 bytes and lies in one piece.
 *
 * @param x `[..., N, ...]` of any dtype.
 * @param axis counted from the front, or from the back where negative.
 * @returns `[..., end - begin, ...]` of the same dtype.
 * @throws ShapeError or ArgumentError for an axis or a range that is not there, or an empty range.
 */
export function slice(x: Tensor, axis: number, [begin, end]: readonly [begin: number, end: number]): Tensor {
  return x.graph.apply(sliceOperation, [x], { axis: axis < 0 ? axis + x.shape.length : axis, begin, end })[0]!;
}
