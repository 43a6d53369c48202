import type { NdArray } from '../../graph/operation.ts';
import type { TensorSpec } from '../../graph/dtype.ts';
import { elementCount, rowCount, rowWidth } from '../../graph/dtype.ts';
import { expectDType, expectRank } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { rowLanes } from '../../wgsl/reduce.ts';
import { broadcastShapes, broadcastStrides, elementwise } from '../elementwise/elementwise.ts';
import { inputNames } from '../elementwise/elementwise.wgsl.ts';
import type { Expression } from '../elementwise/expression.ts';
import { input, size } from '../elementwise/expression.ts';
import type { ReduceKind } from './reduce.wgsl.ts';
import { reduceKernel } from './reduce.wgsl.ts';

export type { ReduceKind } from './reduce.wgsl.ts';

/** Attributes of the operation `reduce`; `expression` is the formula of an element, over operands that broadcast. */
export interface ReduceAttributes {
  readonly kind: ReduceKind;
  readonly expression: Expression;
  readonly keepDims: boolean;
}

/** Longest row that one lane reduces alone. */
const narrowElements = 32;

const signed = (value: number) => Math.trunc(value) | 0;
const unsigned = (value: number) => Math.trunc(value) >>> 0;
const wraps = { f32: (value: number) => value, u32: unsigned, i32: signed } as const;
const folds: Readonly<Record<ReduceKind, { readonly start: number; readonly fold: (a: number, b: number) => number }>> =
  {
    sum: { start: 0, fold: (a, b) => a + b },
    mean: { start: 0, fold: (a, b) => a + b },
    prod: { start: 1, fold: (a, b) => a * b },
    max: { start: -Infinity, fold: Math.max },
    min: { start: Infinity, fold: Math.min },
  };

function reducedShape(shape: readonly number[], keepDims: boolean): readonly number[] {
  return keepDims ? [...shape.slice(0, -1), 1] : shape.slice(0, -1);
}

function referenceReduce(values: NdArray, { kind, keepDims }: ReduceAttributes): NdArray {
  const { shape, dtype } = values;
  const width = rowWidth(shape);
  const { start, fold } = folds[kind];
  const product = kind === 'prod' && dtype !== 'f32';
  const data = Float64Array.from({ length: rowCount(shape) }, (_, row) => {
    const elements = values.data.subarray(row * width, (row + 1) * width);
    const folded = elements.reduce((a, b) => (product ? wraps[dtype](Math.imul(a, b)) : fold(a, b)), start);
    return kind === 'mean' ? folded / width : wraps[dtype](folded);
  });
  return { shape: reducedShape(shape, keepDims), dtype, data };
}

/** A reduction of the last axis whose elements are a formula of the operands: what elementwise producers are fused into. */
export const reduceOperation = defineOperation<ReduceAttributes>({
  name: 'reduce',
  infer(operands, { kind, expression, keepDims }) {
    const shape = broadcastShapes((operands as readonly TensorSpec[]).map((operand) => operand.shape));
    expectRank(`reduce ${kind}: x`, { shape }, 1);
    if (kind === 'mean') expectDType('reduce mean: x', { shape, dtype: expression.dtype }, ['f32']);
    return [{ shape: reducedShape(shape, keepDims), dtype: expression.dtype }];
  },
  reference(operands, attributes) {
    const [values] = elementwise.reference(operands, { expression: attributes.expression });
    return [referenceReduce(values!, attributes)];
  },
  lower(lowering, { operands, outputs, attributes: { kind, expression } }) {
    const tensors = operands as readonly Tensor[];
    const output = outputs[0]!;
    const shape = broadcastShapes(tensors.map((tensor) => tensor.shape));
    const [rows, width] = [rowCount(shape), rowWidth(shape)];
    const layout = width <= narrowElements ? 'narrow' : 'wide';
    const lanes = layout === 'narrow' ? 64 : rowLanes(lowering.device, width);
    lowering.dispatch(
      reduceKernel(
        tensors.map(({ dtype }) => dtype),
        output.dtype,
        layout,
      ),
      {
        constants: {
          kind,
          expression,
          shape,
          strides: tensors.map((tensor) => broadcastStrides(tensor.shape, shape)),
          lanes,
        },
        bindings: {
          ...Object.fromEntries(tensors.map((tensor, i) => [inputNames[i]!, lowering.tensor(tensor)])),
          y: lowering.tensor(output),
        },
        workgroups: grid(layout === 'narrow' ? Math.ceil(rows / lanes) : rows),
        label: `reduce ${kind}`,
        bytes: 4 * (rows + tensors.reduce((sum, tensor) => sum + elementCount(tensor.shape), 0)),
        flops: elementCount(shape) * (1 + size(expression)),
      },
    );
  },
});

/**
 * Reduces the last axis: `y = sum_i x_i`, `mean`, `max`, `min` or `prod`. Integers wrap; a NaN in a row makes its result NaN.
 * Sums in the tensor's dtype, in an order that does not depend on the number of rows. An elementwise producer that nothing else
 * reads is computed inside.
 *
 * @param x `[..., N]` of any dtype; f32 for `mean`.
 * @param options `keepDims`: leave an axis of 1 in its place.
 * @returns `[...]`, or `[..., 1]`, of the same dtype.
 * @throws ShapeError or DTypeError for an operand that does not fit.
 */
export function reduce(
  x: Tensor,
  kind: ReduceKind,
  { keepDims = false }: { readonly keepDims?: boolean } = {},
): Tensor {
  return x.graph.apply(reduceOperation, [x], { kind, keepDims, expression: input(0, x.dtype) })[0]!;
}
