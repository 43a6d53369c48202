import type { Drafter, TargetOutputs } from '@forerun/contracts';
import type { FeatureHead } from '@forerun/mtp';
import { ArgumentError, gather, readState, type State } from '@forerun/tensor';
import { maxPoolNodes } from '../trees/pool-tree.ts';
import type { TreeChoice } from '../trees/sub-tree.ts';
import { maxTreeWidth } from '../trees/tree-shape.ts';
import { expectWholeNumber } from '../whole-number.ts';
import type { ChildChoice } from './children.ts';
import { featureChain } from './feature-chain.ts';
import { expectCapacity, FeatureMemory, slackRows } from './feature-memory.ts';
import { dynamicFeatureTree, staticFeatureTree } from './feature-tree.ts';
import { keptRows, type KnownRows, prefilledRows } from './known-rows.ts';
import { treePlan } from './tree-plan.ts';

/** What a drafter makes of a head that goes on from features. */
export interface FeatureDrafterOptions {
  /**
   * `dynamic`: EAGLE-2's tree, at each depth the `topK` nodes of greatest joint probability drafted on, the best of all nodes verified. A
   * shape, a list of paths or a name: that tree, as in EAGLE-1; in a narrower round the part of it that `subTree` leaves. `chain`: the most
   * likely tokens one behind the other.
   */
  readonly tree?: 'dynamic' | 'chain' | TreeChoice;
  /** Most tokens under the anchor on a path; 8 by default in dynamic trees (EAGLE's `depth` + 1), as many as fit in chains. */
  readonly depth?: number;
  /** Nodes of each depth that a dynamic tree drafts on, and children of each; 10 by default. */
  readonly topK?: number;
  /** Most rows of a tree, the anchor included, in a round that is wider (EAGLE's `total_token`); 64 by default. */
  readonly totalTokens?: number;
  /** How children are chosen; `coupled` by default. */
  readonly children?: ChildChoice;
}

/**
 * Drafts with a head that goes on from the target's features. Known rows pass the head as soon as the target has computed them, so that a
 * round begins with the logits of the first draft; behind that the head goes on from its own output. Rows of drafts are
 * overwritten by the true ones.
 *
 * @param usual - What is made where no tree is asked for.
 */
export function featureDrafter(head: FeatureHead, options: FeatureDrafterOptions, usual: 'dynamic' | 'chain'): Drafter {
  const { topK = 10, totalTokens = maxTreeWidth, children = 'coupled' } = options;
  const who = head.name;
  if (options.depth !== undefined) expectWholeNumber(who, { depth: options.depth });
  expectWholeNumber(who, { topK });
  expectWholeNumber(who, { totalTokens }, 2);
  const depth = options.depth ?? 8;
  const nodes = topK + (depth - 1) * topK * topK;
  if (options.tree === 'dynamic' && nodes > maxPoolNodes) {
    throw new ArgumentError(
      `${who}: topK ${topK} and depth ${depth} see ${nodes} nodes, and a dynamic tree is chosen from at most ${maxPoolNodes}. Ask for less of either.`,
    );
  }
  const plan = treePlan(options, { who, grown: 'dynamic', usual, maxDepth: options.depth ?? maxTreeWidth - 1 });

  const takeIn = (
    known: KnownRows,
    target: TargetOutputs,
    { memory, history }: { memory: FeatureMemory; history: State },
  ): void => {
    // Row t holds the feature of token t and the token behind it, which the history has.
    const following = gather(readState(known.positions.graph, history), known.positions.add(1));
    const { hidden, recycled } = head.forward(
      memory.rowsOf(known, following),
      known.pick(head.features(target)),
      memory.cache!,
    );
    memory.keep(known, { hidden, recycled });
  };

  return {
    name: head.name,
    needs: head.needs,
    gives: { distribution: children === 'drawn' },

    state(capacityTokens, { rollbackTokens }) {
      expectCapacity(`The ${head.name} head`, head.maxPositions, capacityTokens);
      const draftRows = Math.max(slackRows, (depth - 1) * topK);
      return new FeatureMemory({
        name: head.name,
        capacityTokens,
        values: { hidden: head.hiddenSize, recycled: head.hiddenSize },
        cache: head.state(capacityTokens + draftRows, { rollbackTokens, name: head.name }),
      });
    },

    prefill(target, state, { history }) {
      takeIn(prefilledRows(target), target, { memory: state as FeatureMemory, history });
    },

    propose(round, state) {
      const memory = state as FeatureMemory;
      const form = plan(round);
      if (form === 'chain') return featureChain(round, { head, memory, depth: options.depth ?? Infinity });
      const parts = { head, memory, children, width: Math.min(round.width, totalTokens) };
      return form === 'grown'
        ? dynamicFeatureTree(round, { ...parts, depth, topK })
        : staticFeatureTree(round, { ...parts, shapes: form });
    },

    absorb(round, { accepted, target }, state) {
      takeIn(keptRows(round, accepted), target, { memory: state as FeatureMemory, history: round.history });
    },
  };
}
