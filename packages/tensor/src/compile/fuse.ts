import type { Graph, GraphNode } from '../graph/graph.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { WeightStore } from '../run/weight-store.ts';
import { readerCounts } from './canonicalise.ts';
import { elementwiseChains } from './rules/elementwise-chains.ts';
import { linearGate } from './rules/linear-gate.ts';
import { linearGroup } from './rules/linear-group.ts';
import { linearNorm } from './rules/linear-norm.ts';
import { linearResidual } from './rules/linear-residual.ts';
import { reducePrologue } from './rules/reduce-prologue.ts';
import { ropeAppend } from './rules/rope-append.ts';
import { stateViews } from './rules/state-views.ts';

/** What a fusion rule may look at. */
export interface FusionContext {
  readonly graph: Graph;
  /** Places weights; a rule that merges matrices asks it to lay them next to each other. */
  readonly weights: WeightStore;
  /** How many nodes (and program outputs) read each tensor. */
  readonly readers: ReadonlyMap<Tensor, number>;
  /** The node that makes each tensor. */
  readonly producers: ReadonlyMap<Tensor, GraphNode>;
}

/**
 * Rewrites neighbouring nodes into fused ones: from a node list in trace order to another. Order of state accesses, meaning and
 * program outputs stay. A fused node keeps the tensors of the nodes it replaces, so that readers need no renaming.
 */
export interface FusionRule {
  readonly name: string;
  apply(nodes: readonly GraphNode[], context: FusionContext): readonly GraphNode[];
}

/** Rules in the order they run. */
const rules: readonly FusionRule[] = [
  linearNorm,
  linearGate,
  linearResidual,
  linearGroup,
  ropeAppend,
  elementwiseChains,
  reducePrologue,
  stateViews,
];

/** Applies every rule once, in order. */
export function fuse(
  graph: Graph,
  nodes: readonly GraphNode[],
  { weights }: { weights: WeightStore },
): readonly GraphNode[] {
  return rules.reduce((current, rule) => {
    const producers = new Map<Tensor, GraphNode>();
    for (const node of current) for (const output of node.outputs) producers.set(output, node);
    return rule.apply(current, { graph, weights, readers: readerCounts(graph, current), producers });
  }, nodes);
}
