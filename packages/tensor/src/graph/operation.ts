import type { Lowering, LoweringContext, PreparedForm, PreparedRead } from '../compile/lowering.ts';
import type { DType, TensorSpec } from './dtype.ts';
import type { GraphNode } from './graph.ts';
import type { State } from './state.ts';
import type { Tensor } from './tensor.ts';
import type { Weight } from './weight.ts';

/** What an operation can read: an activation, a parameter, or a persistent state. */
export type Operand = Tensor | Weight | State;

/** A dense array in float64: what references compute with. States arrive as live arrays that a reference may change in place. */
export interface NdArray {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly data: Float64Array;
}

/** What a reference gives as u32: a vector, unless a shape says otherwise. */
export function u32Array(data: ArrayLike<number>, shape: readonly number[] = [data.length]): NdArray {
  return { shape, dtype: 'u32', data: Float64Array.from(data) };
}

/** Specs of u32 vectors of these sizes. */
export function u32Vectors(...sizes: readonly number[]): TensorSpec[] {
  return sizes.map((size) => ({ shape: [size], dtype: 'u32' }));
}

/**
 * One operation of the graph: its shape rule, its float64 reference, and its kernels. The harness refuses an operation without
 * a reference.
 */
export interface Operation<Attributes extends object = object> {
  /** Kebab-case name, as its folder. */
  readonly name: string;
  /** Shape and dtype of each output; throws a typed error for operands that do not fit. */
  infer(operands: readonly Operand[], attributes: Attributes): readonly TensorSpec[];
  /** Indexes of `State` operands that it writes. An operation that writes none and whose outputs are unused is dropped. */
  readonly writes?: readonly number[];
  /** Plain loops in float64: returns the outputs and changes written states in place. */
  reference(operands: readonly NdArray[], attributes: Attributes): readonly NdArray[];
  /** Chooses kernels and appends their dispatches. */
  lower(lowering: Lowering, node: GraphNode<Attributes>): void;
  /** Whether its output is its operand under another shape. */
  readonly renames?: boolean;
  /**
   * What it would rather read prepared than plain, if anything, asked before nodes are lowered; `offered` says whether what makes a tensor
   * can write it in a form.
   */
  readsPrepared?(
    context: LoweringContext,
    node: GraphNode<Attributes>,
    offered: (tensor: Tensor, form: PreparedForm) => boolean,
  ): PreparedRead | undefined;
  /** Whether its kernels can write its only output in this form, beside its plain values or instead of them. */
  offersPrepared?(context: LoweringContext, node: GraphNode<Attributes>, form: PreparedForm): boolean;
}

/** Declares an operation; only fixes its types. */
export function defineOperation<Attributes extends object>(operation: Operation<Attributes>): Operation<Attributes> {
  return operation;
}
