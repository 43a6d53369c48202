import { elementCount } from '../../graph/dtype.ts';
import type { GraphNode } from '../../graph/graph.ts';
import type { NdArray, Operand, Operation } from '../../graph/operation.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { apply, evaluate, input } from '../elementwise/expression.ts';
import { rmsNormOperation } from '../rms-norm/rms-norm.ts';
import { linearOperation } from './linear.ts';
import { linearReference } from './linear.reference.ts';
import type { LinearChoice } from './linear-choice.ts';
import type { LinearPlan } from './lower-linear.ts';
import { linearKernels } from './lower-linear.ts';

/** What is fused into a linear operation. */
export interface FusedLinearAttributes {
  /** A root-mean-square norm of `x` in front. */
  readonly norm?: { readonly epsilon: number; readonly offset: 0 | 1; readonly gain: boolean };
  /** One entry a matrix: whether it has a bias. */
  readonly biased: readonly boolean[];
  /** `gate(x · w0ᵀ) * (x · w1ᵀ)`: the name of an elementwise function. Without, each matrix has its own output. */
  readonly gate?: string;
  /** A tensor that is added to the only output. */
  readonly residual: boolean;
}

/** The operands by their parts, in either of their forms. */
interface Parts<T> {
  readonly x: T;
  readonly gain: T | undefined;
  readonly weights: readonly T[];
  readonly biases: readonly (T | undefined)[];
  readonly residual: T | undefined;
}

function partsOf<T>(operands: readonly T[], { norm, biased, residual }: FusedLinearAttributes): Parts<T> {
  let next = 0;
  const take = () => operands[next++]!;
  const x = take();
  const gain = norm?.gain ? take() : undefined;
  const weights = biased.map(take);
  const biases = biased.map((has) => (has ? take() : undefined));
  return { x, gain, weights, biases, residual: residual ? take() : undefined };
}

/** The plan of a fused node. */
export function fusedLinearPlan(
  operands: readonly Operand[],
  attributes: FusedLinearAttributes,
  outputs: readonly Tensor[],
): LinearPlan {
  const { norm, gate } = attributes;
  const { x, gain, weights, biases, residual } = partsOf(operands, attributes);
  return {
    x: x as Tensor,
    weights: weights as Weight[],
    biases: biases as (Weight | undefined)[],
    ...(norm ? { norm: { gain: gain as Weight | undefined, epsilon: norm.epsilon, offset: norm.offset } } : {}),
    ...(gate === undefined ? {} : { gate }),
    ...(residual ? { residual: residual as Tensor } : {}),
    outputs,
  };
}

/** The plan of a linear or fused linear node; undefined for others. */
export function linearPlanOf(node: GraphNode): LinearPlan | undefined {
  const operation: unknown = node.operation;
  if (operation === fusedLinearOperation) {
    return fusedLinearPlan(node.operands, node.attributes as FusedLinearAttributes, node.outputs);
  }
  if (operation !== linearOperation) return undefined;
  const [x, weight, bias] = node.operands as readonly [Tensor, Weight, Weight?];
  return { x, weights: [weight], biases: [bias], outputs: node.outputs };
}

/** The node of a plan, in the place of another. */
export function fusedLinearNode(plan: LinearPlan, place: GraphNode): GraphNode {
  const { operands, attributes } = operandsOf(plan);
  return {
    ...place,
    operation: fusedLinearOperation as unknown as Operation,
    operands,
    attributes,
    outputs: plan.outputs,
  };
}

function operandsOf(plan: LinearPlan): { operands: readonly Operand[]; attributes: FusedLinearAttributes } {
  const { x, weights, biases, norm, gate, residual } = plan;
  return {
    operands: [
      x,
      ...(norm?.gain ? [norm.gain] : []),
      ...weights,
      ...biases.filter((bias) => bias !== undefined),
      ...(residual ? [residual] : []),
    ],
    attributes: {
      ...(norm ? { norm: { epsilon: norm.epsilon, offset: norm.offset as 0 | 1, gain: norm.gain !== undefined } } : {}),
      biased: biases.map((bias) => bias !== undefined),
      ...(gate === undefined ? {} : { gate }),
      residual: residual !== undefined,
    },
  };
}

function gated(gate: string, [first, second]: readonly NdArray[]): NdArray {
  const expression = apply('mul', [apply(gate, [input(0, 'f32')]), input(1, 'f32')]);
  const data = Float64Array.from({ length: elementCount(first!.shape) }, (_, i) =>
    evaluate(expression, [first!.data[i]!, second!.data[i]!]),
  );
  return { ...first!, data };
}

/** How a fused node is lowered, with its kernels chosen otherwise than by the table where a test or a benchmark says so. */
export const fusedLinearKernels = (choice?: LinearChoice) =>
  linearKernels<FusedLinearAttributes>(
    ({ operands, attributes, outputs }) => fusedLinearPlan(operands, attributes, outputs),
    choice,
  );

/** Linear operations of one input with their norm, biases, gate or residual; what fusion makes of them. */
export const fusedLinearOperation: Operation<FusedLinearAttributes> = defineOperation<FusedLinearAttributes>({
  name: 'fused-linear',
  infer(operands, attributes) {
    const { x, weights } = partsOf(operands, attributes);
    const rows = (x as Tensor).shape.slice(0, -1);
    const made = attributes.gate === undefined ? weights : weights.slice(0, 1);
    return made.map((weight) => ({ shape: [...rows, (weight as Weight).rows], dtype: 'f32' }));
  },
  reference(operands, attributes) {
    const { x, gain, weights, biases, residual } = partsOf(operands, attributes);
    const { norm, gate } = attributes;
    const normed = norm ? rmsNormOperation.reference(gain ? [x, gain] : [x], norm)[0]! : x;
    const products = weights.map((weight, i) => linearReference(normed, weight, biases[i]));
    const outputs = gate === undefined ? products : [gated(gate, products)];
    if (!residual) return outputs;
    return outputs.map((output) => ({ ...output, data: output.data.map((value, i) => value + residual.data[i]!) }));
  },
  ...fusedLinearKernels(),
});
