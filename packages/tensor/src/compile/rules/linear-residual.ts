import { sameShape } from '../../graph/dtype.ts';
import type { GraphNode } from '../../graph/graph.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { fusedLinearNode, linearPlanOf } from '../../ops/linear/fused-linear.ts';
import type { FusionRule } from '../fuse.ts';
import { isElementwise } from './inline-elementwise.ts';

/**
 * `residual + x · wᵀ`: the sum is done where the product is made. Not for a product that is normalised first, where the driver would
 * decide how the last product and the sum are rounded.
 */
export const linearResidual: FusionRule = {
  name: 'linear-residual',
  apply(nodes, { readers, producers }) {
    const absorbed = new Set<GraphNode>();
    const rewritten = nodes.map((node) => {
      if (!isElementwise(node)) return node;
      const { expression } = node.attributes;
      const [output] = node.outputs as readonly [Tensor];
      const sum =
        expression.kind === 'apply' &&
        expression.name === 'add' &&
        expression.args.every(({ kind }) => kind === 'input');
      const operands = node.operands as readonly Tensor[];
      if (!sum || operands.length !== 2 || operands[0] === operands[1]) return node;
      if (!operands.every((operand) => sameShape(operand.shape, output.shape))) return node;
      for (const [product, residual] of [
        [operands[1]!, operands[0]!],
        [operands[0]!, operands[1]!],
      ] as const) {
        const producer = producers.get(product);
        const plan = producer && linearPlanOf(producer);
        if (!plan || absorbed.has(producer) || readers.get(product) !== 1) continue;
        if (plan.outputs.length > 1 || plan.norm || plan.gate !== undefined || plan.residual) continue;
        absorbed.add(producer);
        return fusedLinearNode({ ...plan, residual, outputs: node.outputs }, node as unknown as GraphNode);
      }
      return node;
    });
    return rewritten.filter((node) => !absorbed.has(node as GraphNode)) as readonly GraphNode[];
  },
};
