import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import { elementCount, sameShape, shapeText } from '../../graph/dtype.ts';
import { expectInteger, expectRank } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { concatEnds, concatKernel, concatNames } from './concat.wgsl.ts';

/** `concat` along an axis. */
export const concatOperation = defineOperation<{ readonly axis: number }>({
  name: 'concat',
  infer(operands, { axis }) {
    const tensors = operands as readonly Tensor[];
    const [first] = tensors as readonly [Tensor];
    for (const tensor of tensors) expectRank('concat', tensor, 1);
    expectInteger('concat: axis', axis, [0, first.shape.length - 1]);
    for (const { shape, dtype } of tensors) {
      if (shape.length !== first.shape.length || !sameShape(shape.with(axis, 1), first.shape.with(axis, 1))) {
        throw new ShapeError(
          `concat: expected shapes that differ in axis ${axis} only, got ${shapeText(first.shape)} and ${shapeText(shape)}.`,
        );
      }
      if (dtype !== first.dtype) {
        throw new DTypeError(`concat: expected one dtype, got ${first.dtype} and ${dtype}; convert one with .to().`);
      }
    }
    const extent = tensors.reduce((sum, { shape }) => sum + shape[axis]!, 0);
    return [{ shape: first.shape.with(axis, extent), dtype: first.dtype }];
  },
  reference(operands, { axis }) {
    const [first] = operands;
    const extent = operands.reduce((sum, { shape }) => sum + shape[axis]!, 0);
    const shape = first!.shape.with(axis, extent);
    const outer = elementCount(shape.slice(0, axis));
    const data = new Float64Array(elementCount(shape));
    let at = 0;
    for (let block = 0; block < outer; block++) {
      for (const operand of operands) {
        const span = operand.data.length / outer;
        data.set(operand.data.subarray(block * span, (block + 1) * span), at);
        at += span;
      }
    }
    return [{ shape, dtype: first!.dtype, data }];
  },
  lower(lowering, { operands, outputs, attributes: { axis } }) {
    const tensors = operands as readonly Tensor[];
    const output = outputs[0]!;
    const outer = elementCount(output.shape.slice(0, axis));
    const y = lowering.tensor(output);
    let toBegin = 0;
    for (let from = 0; from < tensors.length; from += concatNames.length) {
      const group = tensors.slice(from, from + concatNames.length);
      let end = 0;
      const ends = group.map(({ shape }) => (end += elementCount(shape) / outer));
      const count = outer * end;
      lowering.dispatch(concatKernel(group.length), {
        constants: {},
        uniforms: { count, toBegin, toStride: elementCount(output.shape) / outer, ...concatEnds(ends) },
        bindings: {
          ...Object.fromEntries(group.map((tensor, i) => [concatNames[i]!, lowering.tensor(tensor)])),
          y,
        },
        workgroups: grid(Math.ceil(count / 64)),
        label: 'concat',
        bytes: 8 * count,
      });
      toBegin += end;
    }
  },
});

/**
 * Tensors one after the other along an axis, which alone may differ in size.
 *
 * @param tensors each `[..., N_i, ...]`, all of one dtype.
 * @param axis counted from the front, or from the back where negative.
 * @returns `[..., sum of N_i, ...]` of that dtype.
 * @throws ShapeError, DTypeError or ArgumentError for operands that do not fit.
 */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  const [first] = tensors;
  if (!first) throw new ArgumentError('concat: expected at least one tensor, got none.');
  return first.graph.apply(concatOperation, tensors, { axis: axis < 0 ? axis + first.shape.length : axis })[0]!;
}
