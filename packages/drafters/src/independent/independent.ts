import type { Drafter, TargetOutputs } from '@forerun/contracts';
import type { IndependentHeads } from '@forerun/mtp';
import { ArgumentError, concat } from '@forerun/tensor';
import { chain, choose } from '../features/chain.ts';
import { type ChildChoice, Children } from '../features/children.ts';
import { expectCapacity, FeatureMemory, slackRows } from '../features/feature-memory.ts';
import { keptRows, type KnownRows, prefilledRows } from '../features/known-rows.ts';
import { bestFirstTree } from '../trees/best-first.ts';
import { bestCandidates } from '../trees/candidates.ts';
import { paddedTree } from '../trees/padded-tree.ts';
import { expectWholeNumber } from '../whole-number.ts';

/** What independent heads make. */
export interface IndependentDrafterOptions {
  /** `best-first`: the nodes of greatest joint probability, from the distribution of each head. `chain`: the most likely token of each. */
  readonly tree?: 'best-first' | 'chain';
  /** Candidates of each depth among which best-first chooses; 10 by default. */
  readonly topK?: number;
  /** How candidates are chosen; `coupled` by default. */
  readonly children?: Exclude<ChildChoice, 'drawn'>;
}

const valueOf = (head: number) => `head ${head}`;

/**
 * Drafts with Meta's independent heads (Gloeckle et al. 2024, arXiv:2404.19737): a tree, or a chain, of what each head guesses from the
 * target's trunk at the last token that the target has seen. Each head is a layer with a cache of its own, which takes in kept rows only.
 * Where the target verifies chains only, it is a chain.
 *
 * @param heads - From `independentHeads` of `@forerun/mtp`, made for the target.
 * @throws ArgumentError for options that make no sense; MismatchedPartsError when a conversation is to hold more tokens than the heads were
 *   made for.
 */
export function independent(heads: IndependentHeads, options: IndependentDrafterOptions = {}): Drafter {
  const { tree = 'best-first', topK = 10, children = 'coupled' } = options;
  expectWholeNumber('independent', { topK });
  if (tree !== 'best-first' && tree !== 'chain') {
    throw new ArgumentError(`independent: tree is 'best-first' or 'chain', got ${JSON.stringify(tree)}.`);
  }
  const names = Array.from({ length: heads.count }, (_, head) => valueOf(head));
  const takeIn = (known: KnownRows, target: TargetOutputs, memory: FeatureMemory): void => {
    const trunk = known.pick(target.taps![0]!);
    const hidden = heads.forward(memory.rowsOf(known, trunk), trunk, memory.cache!);
    memory.keep(known, Object.fromEntries(names.map((name, head) => [name, hidden[head]!])));
  };
  return {
    name: 'independent',
    needs: heads.needs,
    gives: { distribution: false },
    state(capacityTokens, { rollbackTokens }) {
      expectCapacity('The independent heads', heads.maxPositions, capacityTokens);
      return new FeatureMemory({
        name: 'independent',
        capacityTokens,
        values: Object.fromEntries(names.map((name) => [name, heads.hiddenSize])),
        cache: heads.state(capacityTokens + slackRows, { rollbackTokens, name: 'independent' }),
      });
    },
    prefill: (target, state) => takeIn(prefilledRows(target), target, state as FeatureMemory),
    propose(round, state) {
      const memory = state as FeatureMemory;
      const { graph } = round.length;
      const ready = memory.ready(round.length);
      const used = names.slice(0, round.width - 1);
      const logits = used.map((name) => heads.logits(memory.value(graph, name)));
      if (tree === 'chain' || !round.decoder.branching) {
        return chain(
          round,
          logits.map((own, head) => choose(round, own, head + 1)),
          ready,
        );
      }
      const chosen = new Children({ round, choice: children });
      const ranked = chosen.ranked(
        concat(logits, 0),
        logits.map((_, head) => head + 1),
      );
      const ranks = Math.min(topK, round.width - 1, round.decoder.vocabSize);
      const { indexes, scores } = bestCandidates(ranked, ranks);
      const given = { anchor: round.anchor, candidates: indexes, logProbabilities: scores };
      return paddedTree(bestFirstTree(given, round.width), round.width, ready);
    },
    absorb: (round, { accepted, target }, state) => takeIn(keptRows(round, accepted), target, state as FeatureMemory),
  };
}
