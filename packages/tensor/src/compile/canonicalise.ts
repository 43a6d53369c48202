import type { Graph, GraphNode } from '../graph/graph.ts';
import { Tensor } from '../graph/tensor.ts';

/** The nodes of a graph that something depends on, in trace order: outputs and state writes, and all that leads to them. */
export function liveNodes(graph: Graph): GraphNode[] {
  const needed = new Set<Tensor>(graph.outputs.values());
  const kept: GraphNode[] = [];
  for (const node of [...graph.nodes].reverse()) {
    const effect = (node.operation.writes?.length ?? 0) > 0;
    if (!effect && !node.outputs.some((output) => needed.has(output))) continue;
    for (const operand of node.operands) if (operand instanceof Tensor) needed.add(operand);
    kept.push(node);
  }
  return kept.reverse();
}

/** How many nodes read each tensor; an output of the program counts as one more reader. */
export function readerCounts(graph: Graph, nodes: readonly GraphNode[]): Map<Tensor, number> {
  const counts = new Map<Tensor, number>();
  const count = (tensor: Tensor) => counts.set(tensor, (counts.get(tensor) ?? 0) + 1);
  for (const node of nodes) {
    for (const operand of new Set(node.operands)) if (operand instanceof Tensor) count(operand);
  }
  for (const tensor of graph.outputs.values()) count(tensor);
  return counts;
}
