import { ShapeError } from '../../errors.ts';
import type { TensorSpec } from '../../graph/dtype.ts';
import { elementCount, shapeText } from '../../graph/dtype.ts';
import type { NdArray } from '../../graph/operation.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { elementwiseKernel, inputNames } from './elementwise.wgsl.ts';
import type { Expression } from './expression.ts';
import { evaluate, size } from './expression.ts';

/** The shape that NumPy broadcasting gives. */
export function broadcastShapes(shapes: readonly (readonly number[])[]): readonly number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    let result = 1;
    for (const shape of shapes) {
      const extent = shape[axis - rank + shape.length] ?? 1;
      if (extent !== 1 && result !== 1 && extent !== result) {
        throw new ShapeError(
          `Shapes ${shapes.map(shapeText).join(' and ')} do not broadcast: axis ${axis} has both ${result} and ${extent}.`,
        );
      }
      if (extent !== 1) result = extent;
    }
    return result;
  });
}

/** Stride in elements of each axis of `output` when walking an operand of shape `shape`; 0 where it is repeated. */
export function broadcastStrides(shape: readonly number[], output: readonly number[]): readonly number[] {
  return output.map((_, axis) => {
    const own = axis - output.length + shape.length;
    if (own < 0 || shape[own] === 1) return 0;
    return elementCount(shape.slice(own + 1));
  });
}

function offsetOf(index: number, output: readonly number[], strides: readonly number[]): number {
  let offset = 0;
  for (let axis = output.length - 1; axis >= 0; axis--) {
    const extent = output[axis]!;
    offset += (index % extent) * strides[axis]!;
    index = Math.floor(index / extent);
  }
  return offset;
}

function infer(tensors: readonly TensorSpec[], expression: Expression): TensorSpec {
  return { shape: broadcastShapes(tensors.map(({ shape }) => shape)), dtype: expression.dtype };
}

/** A formula applied to each element, its operands broadcast to one shape. One generated kernel whatever the formula. */
export const elementwise = defineOperation<{ readonly expression: Expression }>({
  name: 'elementwise',
  infer: (operands, { expression }) => [infer(operands as readonly Tensor[], expression)],
  reference(operands, { expression }) {
    const { shape, dtype } = infer(operands, expression);
    const strides = operands.map((operand) => broadcastStrides(operand.shape, shape));
    const data = Float64Array.from({ length: elementCount(shape) }, (_, index) =>
      evaluate(
        expression,
        operands.map((operand, i) => operand.data[offsetOf(index, shape, strides[i]!)]!),
      ),
    );
    return [{ shape, dtype, data } satisfies NdArray];
  },
  lower(lowering, node) {
    const output = node.outputs[0]!;
    const tensors = node.operands as readonly Tensor[];
    const count = elementCount(output.shape);
    const kernel = elementwiseKernel(
      tensors.map(({ dtype }) => dtype),
      output.dtype,
    );
    lowering.dispatch(kernel, {
      constants: {
        expression: node.attributes.expression,
        shape: output.shape,
        strides: tensors.map(({ shape }) => broadcastStrides(shape, output.shape)),
      },
      bindings: {
        ...Object.fromEntries(tensors.map((tensor, i) => [inputNames[i]!, lowering.tensor(tensor)])),
        y: lowering.tensor(output),
      },
      workgroups: grid(Math.ceil(count / 64)),
      bytes: 4 * (count + tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0)),
      flops: count * size(node.attributes.expression),
    });
  },
});
