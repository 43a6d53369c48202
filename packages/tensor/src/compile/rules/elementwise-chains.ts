import type { GraphNode } from '../../graph/graph.ts';
import type { FusionRule } from '../fuse.ts';
import { inlineElementwise, isElementwise } from './inline-elementwise.ts';

/** Writes elementwise nodes with a single, elementwise reader into that reader: one dispatch, and nothing stored in between. */
export const elementwiseChains: FusionRule = {
  name: 'elementwise-chains',
  apply(nodes, context) {
    const absorbed = new Set<GraphNode>();
    // From the last to the first, so that a chain is taken whole by its end.
    const rewritten = nodes.toReversed().map((node) => {
      if (!isElementwise(node) || absorbed.has(node as unknown as GraphNode)) return node;
      const formula = inlineElementwise(node, context);
      if (formula.absorbed.length === 0) return node;
      for (const producer of formula.absorbed) absorbed.add(producer);
      return {
        ...node,
        operands: formula.operands,
        attributes: { expression: formula.expression },
      } as unknown as GraphNode;
    });
    return rewritten.reverse().filter((node) => !absorbed.has(node as GraphNode)) as readonly GraphNode[];
  },
};
