import { ArgumentError, ShapeError } from '../errors.ts';
import { elementCount, shapeText } from '../graph/dtype.ts';
import type { Graph } from '../graph/graph.ts';
import type { NdArray, Operand } from '../graph/operation.ts';
import { State } from '../graph/state.ts';
import { Tensor } from '../graph/tensor.ts';
import type { Weight } from '../graph/weight.ts';

/** What interpreting a graph needs; states are changed in place. */
export interface InterpretOptions {
  readonly inputs?: Readonly<Record<string, ArrayLike<number>>>;
  readonly states?: Map<State, Float64Array>;
  /** Values of a weight, row-major, after rounding to its format; needed when the graph reads any. */
  readonly weights?: (weight: Weight) => Float64Array;
}

/**
 * Runs a traced graph through the references in float64: the oracle for a whole program, whatever was fused and whichever kernels
 * were chosen. States that are not given start from their declared content and are added to `states`.
 */
export function interpret(graph: Graph, options: InterpretOptions = {}): Record<string, NdArray> {
  const values = new Map<Tensor, NdArray>();
  const states = options.states ?? new Map<State, Float64Array>();
  for (const { name, tensor } of graph.inputs) {
    const data = options.inputs?.[name];
    if (data?.length !== elementCount(tensor.shape)) {
      throw new ArgumentError(
        `Input "${name}": expected ${elementCount(tensor.shape)} numbers, got ${data?.length ?? 'none'}.`,
      );
    }
    values.set(tensor, { shape: tensor.shape, dtype: tensor.dtype, data: Float64Array.from(data) });
  }
  for (const { tensor, data } of graph.constants) {
    values.set(tensor, { shape: tensor.shape, dtype: tensor.dtype, data: Float64Array.from(data) });
  }
  const resolve = (operand: Operand): NdArray => {
    if (operand instanceof Tensor) {
      const value = values.get(operand);
      if (!value) throw new ArgumentError(`Tensor ${operand.id} has no value; it belongs to another graph.`);
      return value;
    }
    if (operand instanceof State) {
      if (!states.has(operand)) {
        states.set(
          operand,
          new Float64Array(elementCount(operand.shape)).fill(operand.init === 'zeros' ? 0 : operand.init.fill),
        );
      }
      return { shape: operand.shape, dtype: operand.dtype, data: states.get(operand)! };
    }
    const data = options.weights?.(operand);
    if (!data) throw new ArgumentError(`Weight "${operand.name}" has no values; pass \`weights\`.`);
    return { shape: operand.shape, dtype: 'f32', data };
  };
  for (const node of graph.nodes) {
    const results = node.operation.reference(node.operands.map(resolve), node.attributes);
    node.outputs.forEach((output, index) => {
      const result = results[index];
      if (result?.data.length !== elementCount(output.shape)) {
        throw new ShapeError(
          `Reference of ${node.operation.name}: expected ${elementCount(output.shape)} elements ${shapeText(output.shape)} as output ${index}, as infer says, got ${result?.data.length ?? 'none'}.`,
        );
      }
      values.set(output, result);
    });
  }
  return Object.fromEntries([...graph.outputs].map(([name, tensor]) => [name, values.get(tensor)!]));
}
