import type { Drafter, Round, TargetOutputs, TokenTree } from '@forerun/contracts';
import type { HydraHeads } from '@forerun/mtp';
import { gatherRows, type Tensor } from '@forerun/tensor';
import { chain, choose } from '../features/chain.ts';
import { type ChildChoice, Children } from '../features/children.ts';
import { expectCapacity, FeatureMemory, slackRows } from '../features/feature-memory.ts';
import { keptRows, type KnownRows, prefilledRows } from '../features/known-rows.ts';
import { treePlan } from '../features/tree-plan.ts';
import { beamTree } from '../trees/beam-tree.ts';
import { pick } from '../trees/candidates.ts';
import { type LevelNodes, levelTree } from '../trees/level-tree.ts';
import { paddedTree } from '../trees/padded-tree.ts';
import { type ShapeOfWidth, shapedTree, type TreeChoice } from '../trees/sub-tree.ts';
import { expectWholeNumber } from '../whole-number.ts';

/** What Hydra heads make. */
export interface HydraOptions {
  /**
   * `dynamic`: at each depth the next head runs on the `topK` nodes of greatest joint probability, and the best of all nodes are verified. A
   * shape, a list of paths or a name: that tree, as Hydra is published; in a narrower round the part of it that `subTree` leaves. `chain`:
   * the most likely tokens one behind the other.
   */
  readonly tree?: 'dynamic' | 'chain' | TreeChoice;
  /** Nodes of each depth that a dynamic tree drafts on, and children of each; 10 by default. */
  readonly topK?: number;
  /** How children are chosen; `coupled` by default. */
  readonly children?: ChildChoice;
}

/**
 * Drafts with Hydra heads (Ankner et al. 2024, arXiv:2402.05109): a tree, or a chain, in which each head sees the tokens on the path before
 * its own. Where the target verifies chains only, it is a chain unless a tree is asked for.
 *
 * @param heads - From `hydraHeads` of `@forerun/mtp`, made for the target.
 * @param options - Which tree; `dynamic` by default.
 * @throws ArgumentError for a tree that cannot be made; MismatchedPartsError when a conversation is to hold more tokens than the prefix
 *   layer was made for, and for a tree that was asked for and a target that verifies chains only.
 */
export function hydra(heads: HydraHeads, options: HydraOptions = {}): Drafter {
  const { topK = 10, children = 'coupled' } = options;
  expectWholeNumber('hydra', { topK });
  const plan = treePlan(options, { who: 'hydra', grown: 'dynamic', usual: 'dynamic', maxDepth: heads.count });
  const { prefix } = heads;
  const takeIn = (known: KnownRows, target: TargetOutputs, memory: FeatureMemory): void => {
    const hidden = known.pick(target.hidden!);
    const seen = prefix ? prefix.forward(memory.rowsOf(known, hidden), hidden, memory.cache!) : hidden;
    memory.keep(known, { hidden: seen });
  };
  return {
    name: 'hydra',
    needs: heads.needs,
    gives: { distribution: children === 'drawn' },
    state(capacityTokens, { rollbackTokens }) {
      if (prefix) expectCapacity('The prefix layer of the Hydra heads', prefix.maxPositions, capacityTokens);
      const cache = prefix?.state(capacityTokens + slackRows, { rollbackTokens, name: 'hydra' });
      const values = { hidden: heads.hiddenSize };
      return new FeatureMemory({ name: 'hydra', capacityTokens, values, ...(cache ? { cache } : {}) });
    },
    prefill: (target, state) => takeIn(prefilledRows(target), target, state as FeatureMemory),
    propose(round, state) {
      const memory = state as FeatureMemory;
      const hidden = memory.value(round.length.graph, 'hidden');
      const ready = memory.ready(round.length);
      const form = plan(round);
      if (form === 'chain') {
        const drafts: Tensor[] = [];
        for (let head = 0; head < Math.min(heads.count, round.width - 1); head++) {
          drafts.push(choose(round, heads.logits(hidden, [round.anchor, ...drafts]), head + 1));
        }
        return chain(round, drafts, ready);
      }
      const parts = { heads, hidden, ready, children: new Children({ round, choice: children }) };
      return form === 'grown' ? dynamicTree(round, { ...parts, topK }) : shaped(round, { ...parts, shapes: form });
    },
    absorb: (round, { accepted, target }, state) => takeIn(keptRows(round, accepted), target, state as FeatureMemory),
  };
}

interface HydraTreeParts {
  readonly heads: HydraHeads;
  /** `[1, D]`: what the heads see of the last known token. */
  readonly hidden: Tensor;
  readonly ready: Tensor;
  readonly children: Children;
}

/** Runs one head after the other over the nodes of one depth after the other, each with the tokens on its path. */
function headLevels(round: Round, { heads, hidden }: HydraTreeParts): (nodes: LevelNodes) => Tensor {
  const { graph } = round.length;
  let above: readonly Tensor[] = [];
  return ({ tokens, parents }) => {
    const rows = graph.constant(new Uint32Array(tokens.shape[0]!));
    above = [...above.map((column) => pick(column, parents)), tokens];
    return heads.logits(gatherRows(hidden, rows), [pick(round.anchor, rows), ...above]);
  };
}

function dynamicTree(round: Round, parts: HydraTreeParts & { readonly topK: number }): TokenTree {
  const { heads, hidden, ready, children, topK } = parts;
  const expand = headLevels(round, parts);
  const tree = beamTree({
    anchor: round.anchor,
    logits: children.ranked(heads.logits(hidden, [round.anchor]), 1),
    width: round.width,
    depth: Math.min(heads.count, round.width - 1),
    // No more than width - 1 nodes of a depth, or children of a node, can be among the best width - 1 nodes.
    beams: Math.min(topK, round.width - 1, round.decoder.vocabSize),
    expand: (beams) => children.ranked(expand(beams), beams.depth + 1),
  });
  return paddedTree(tree, round.width, ready);
}

function shaped(round: Round, parts: HydraTreeParts & { readonly shapes: ShapeOfWidth }): TokenTree {
  const { heads, hidden, ready, children, shapes } = parts;
  const shape = shapes(round.width);
  const { tokens, expanded } = levelTree(shape, {
    anchor: round.anchor,
    logits: heads.logits(hidden, [round.anchor]),
    expand: headLevels(round, parts),
    children: (logits, { depth, ranks }) => children.of(logits, { depths: depth, ranks }),
  });
  const order = new Map(expanded.map((row, index) => [row, index]));
  return {
    ...shapedTree(shape, { tokens, width: round.width, ready }),
    ...children.distribution(Array.from({ length: round.width }, (_, row) => order.get(row))),
  };
}
