import type { GraphNode } from '../../graph/graph.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Expression } from '../../ops/elementwise/expression.ts';
import { fusedLinearNode, linearPlanOf } from '../../ops/linear/fused-linear.ts';
import type { LinearPlan } from '../../ops/linear/lower-linear.ts';
import type { FusionContext, FusionRule } from '../fuse.ts';
import { inlineElementwise, isElementwise } from './inline-elementwise.ts';
import { sameNorm } from './linear-group.ts';

const gates: ReadonlySet<string> = new Set(['silu', 'gelu', 'gelu-tanh', 'relu', 'sigmoid']);

/** `gate(a) * b` or `b * gate(a)` over two inputs: the function, and the indexes of a and b. */
function gatePattern(expression: Expression): { gate: string; first: number; second: number } | undefined {
  if (expression.kind !== 'apply' || expression.name !== 'mul') return undefined;
  for (const [activation, plain] of [expression.args, expression.args.toReversed()]) {
    if (activation?.kind !== 'apply' || plain?.kind !== 'input' || !gates.has(activation.name)) continue;
    const [argument] = activation.args;
    if (argument?.kind === 'input' && argument.index !== plain.index) {
      return { gate: activation.name, first: argument.index, second: plain.index };
    }
  }
  return undefined;
}

/** The plan of a matrix whose product only the gate reads. */
function matrixOf(
  tensor: Tensor,
  { producers, readers }: FusionContext,
): { node: GraphNode; plan: LinearPlan } | undefined {
  const node = producers.get(tensor);
  const plan = node && linearPlanOf(node);
  if (!plan || readers.get(tensor) !== 1 || plan.weights.length > 1 || plan.gate !== undefined || plan.residual)
    return undefined;
  return { node, plan };
}

/** `silu(x · w0ᵀ) * (x · w1ᵀ)` and its kin in one dispatch, the two matrices next to each other. */
export const linearGate: FusionRule = {
  name: 'linear-gate',
  apply(nodes, context) {
    const absorbed = new Set<GraphNode>();
    const rewritten = nodes.map((node) => {
      if (!isElementwise(node)) return node;
      const { operands, expression, absorbed: inlined } = inlineElementwise(node, context);
      const pattern = gatePattern(expression);
      const first = pattern && matrixOf(operands[pattern.first]!, context);
      const second = pattern && matrixOf(operands[pattern.second]!, context);
      if (!first || !second || first.plan.x !== second.plan.x || !sameNorm(first.plan, second.plan)) return node;
      const weights = [first.plan.weights[0]!, second.plan.weights[0]!];
      if (weights[0]!.rows !== weights[1]!.rows || !context.weights.group(weights)) return node;
      for (const gone of [first.node, second.node, ...inlined]) absorbed.add(gone);
      const biases = [first.plan.biases[0], second.plan.biases[0]];
      const plan = { ...first.plan, weights, biases, gate: pattern.gate, outputs: node.outputs };
      return fusedLinearNode(plan, node as unknown as GraphNode);
    });
    return rewritten.filter((node) => !absorbed.has(node as GraphNode)) as readonly GraphNode[];
  },
};
