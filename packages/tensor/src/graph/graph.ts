import { ArgumentError } from '../errors.ts';
import type { DType } from './dtype.ts';
import { elementCount, shapeText } from './dtype.ts';
import type { Operand, Operation } from './operation.ts';
import { State } from './state.ts';
import { Tensor } from './tensor.ts';

/** One application of an operation, in trace order. */
export interface GraphNode<Attributes extends object = object> {
  readonly id: number;
  readonly operation: Operation<Attributes>;
  readonly operands: readonly Operand[];
  readonly attributes: Attributes;
  readonly outputs: readonly Tensor[];
  /** Part of the program that it belongs to, for profiles. */
  readonly section: string;
}

/** A tensor that the host writes before each run. */
export interface GraphInput {
  readonly name: string;
  readonly tensor: Tensor;
}

/** A tensor whose values are fixed when the program is compiled, such as a table. */
export interface GraphConstant {
  readonly tensor: Tensor;
  readonly data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;
}

/**
 * What tracing a program records: nodes in the order they were written. The order is the meaning wherever states are read and
 * written; passes keep it.
 */
export class Graph {
  readonly nodes: GraphNode[] = [];
  readonly inputs: GraphInput[] = [];
  readonly constants: GraphConstant[] = [];
  readonly outputs = new Map<string, Tensor>();
  /** Label of what is traced next; profiles sum times by it. */
  section = 'program';
  #tensors = 0;

  /** Declares a tensor that the host fills before each run. */
  input(name: string, shape: readonly number[], dtype: DType = 'f32'): Tensor {
    if (this.inputs.some((input) => input.name === name)) {
      throw new ArgumentError(`Program input "${name}" is declared twice; give each input its own name.`);
    }
    const tensor = this.tensor(shape, dtype);
    this.inputs.push({ name, tensor });
    return tensor;
  }

  /** A table that never changes: its values, in a dtype that follows from the array. Equal tables share one buffer on a device. */
  constant(data: GraphConstant['data'], shape: readonly number[] = [data.length]): Tensor {
    if (elementCount(shape) !== data.length) {
      throw new ArgumentError(`Constant: ${data.length} numbers do not fill shape ${shapeText(shape)}.`);
    }
    const dtype = data instanceof Float32Array ? 'f32' : data instanceof Uint32Array ? 'u32' : 'i32';
    const tensor = this.tensor(shape, dtype);
    this.constants.push({ tensor, data });
    return tensor;
  }

  /** Names a tensor that the host may read after a run. */
  output(name: string, tensor: Tensor): void {
    if (this.outputs.has(name)) {
      throw new ArgumentError(`Program output "${name}" is declared twice; give each output its own name.`);
    }
    this.#own(tensor);
    this.outputs.set(name, tensor);
  }

  /** Applies an operation and returns its outputs. */
  apply<Attributes extends object>(
    operation: Operation<Attributes>,
    operands: readonly Operand[],
    attributes: Attributes,
  ): readonly Tensor[] {
    for (const operand of operands) if (operand instanceof Tensor) this.#own(operand);
    for (const index of operation.writes ?? []) {
      if (!(operands[index] instanceof State)) {
        throw new ArgumentError(`Operation ${operation.name}: operand ${index} is written, so it must be a State.`);
      }
    }
    const outputs = operation.infer(operands, attributes).map(({ shape, dtype }) => this.tensor(shape, dtype));
    const node: GraphNode<Attributes> = {
      id: this.nodes.length,
      operation,
      operands,
      attributes,
      outputs,
      section: this.section,
    };
    this.nodes.push(node as unknown as GraphNode);
    return outputs;
  }

  /** A fresh tensor of this graph, for passes that rewrite it. */
  tensor(shape: readonly number[], dtype: DType): Tensor {
    return new Tensor(this, this.#tensors++, shape, dtype);
  }

  #own(tensor: Tensor): void {
    if (tensor.graph !== this) {
      throw new ArgumentError(
        'A tensor of another trace was used; states, not tensors, carry values between programs.',
      );
    }
  }
}

/** Traces `body` once and returns what it recorded. */
export function trace(body: (graph: Graph) => void): Graph {
  const graph = new Graph();
  body(graph);
  return graph;
}
