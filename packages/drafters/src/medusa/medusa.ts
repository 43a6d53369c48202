import type { Drafter, Round, TokenTree } from '@forerun/contracts';
import type { MedusaHeads } from '@forerun/mtp';
import { concat, type Tensor } from '@forerun/tensor';
import { chain, choose } from '../features/chain.ts';
import { type ChildChoice, Children } from '../features/children.ts';
import { FeatureMemory } from '../features/feature-memory.ts';
import { keptRows, prefilledRows } from '../features/known-rows.ts';
import { treePlan } from '../features/tree-plan.ts';
import { bestFirstTree } from '../trees/best-first.ts';
import { bestCandidates } from '../trees/candidates.ts';
import { candidateTree } from '../trees/candidate-tree.ts';
import { paddedTree } from '../trees/padded-tree.ts';
import type { ShapeOfWidth, TreeChoice } from '../trees/sub-tree.ts';
import { expectWholeNumber } from '../whole-number.ts';

/** What Medusa heads make. */
export interface MedusaOptions {
  /**
   * `best-first`: the nodes of greatest joint probability, from the distribution that each head gives for its depth. A shape, a list of
   * paths or the name of one of Medusa's own: that tree; in a narrower round the part of it that `subTree` leaves. `chain`: the most
   * likely token of each head.
   */
  readonly tree?: 'best-first' | 'chain' | TreeChoice;
  /** Candidates of each depth among which best-first chooses; 10 by default. */
  readonly topK?: number;
  /** How candidates are chosen; `coupled` by default. */
  readonly children?: ChildChoice;
}

/**
 * Drafts with Medusa heads (Cai et al. 2024, arXiv:2401.10774): a tree, or a chain, of what each head guesses from the hidden state of the
 * last token that the target has seen. Where the target verifies chains only, it is a chain unless a tree is asked for.
 *
 * @param heads - From `medusaHeads` of `@forerun/mtp`, made for the target.
 * @param options - Which tree; `best-first` by default.
 * @throws ArgumentError for a tree that cannot be made; MismatchedPartsError for a tree that was asked for and a target that verifies
 *   chains only.
 */
export function medusa(heads: MedusaHeads, options: MedusaOptions = {}): Drafter {
  const { topK = 10, children = 'coupled' } = options;
  expectWholeNumber('medusa', { topK });
  const plan = treePlan(options, { who: 'medusa', grown: 'best-first', usual: 'best-first', maxDepth: heads.count });
  return {
    name: 'medusa',
    needs: heads.needs,
    gives: { distribution: children === 'drawn' },
    state: (capacityTokens) =>
      new FeatureMemory({ name: 'medusa', capacityTokens, values: { hidden: heads.hiddenSize } }),
    prefill(target, state) {
      const known = prefilledRows(target);
      (state as FeatureMemory).keep(known, { hidden: known.pick(target.hidden!) });
    },
    propose(round, state) {
      const memory = state as FeatureMemory;
      const hidden = memory.value(round.length.graph, 'hidden');
      const ready = memory.ready(round.length);
      const form = plan(round);
      const logits = (depth: number) =>
        Array.from({ length: Math.min(depth, round.width - 1, heads.count) }, (_, head) => heads.logits(hidden, head));
      if (form === 'chain') {
        const drafts = logits(heads.count).map((own, head) => choose(round, own, head + 1));
        return chain(round, drafts, ready);
      }
      const chosen = new Children({ round, choice: children });
      if (form === 'grown') {
        const all = logits(heads.count);
        const ranked = chosen.ranked(concat(all, 0), depthsOf(all));
        const ranks = Math.min(topK, round.width - 1, round.decoder.vocabSize);
        const { indexes, scores } = bestCandidates(ranked, ranks);
        const given = { anchor: round.anchor, candidates: indexes, logProbabilities: scores };
        return paddedTree(bestFirstTree(given, round.width), round.width, ready);
      }
      return shaped(round, { chosen, logits, ready, shapes: form });
    },
    absorb(round, { accepted, target }, state) {
      const known = keptRows(round, accepted);
      (state as FeatureMemory).keep(known, { hidden: known.pick(target.hidden!) });
    },
  };
}

const depthsOf = (all: readonly unknown[]) => all.map((_, index) => index + 1);

/** A tree of fixed form: the nodes of a depth share their candidates. */
function shaped(
  round: Round,
  parts: {
    readonly chosen: Children;
    readonly logits: (depth: number) => readonly Tensor[];
    readonly ready: Tensor;
    readonly shapes: ShapeOfWidth;
  },
): TokenTree {
  const shape = parts.shapes(round.width);
  const all = parts.logits(shape.depth);
  const candidates = parts.chosen.of(concat(all, 0), { depths: depthsOf(all), ranks: shape.ranks });
  const tree = candidateTree(shape, { anchor: round.anchor, candidates });
  const rows = Array.from({ length: round.width }, (_, row) =>
    row < shape.width && shape.depths[row]! < shape.depth ? shape.depths[row] : undefined,
  );
  return { ...paddedTree(tree, round.width, parts.ready), ...parts.chosen.distribution(rows) };
}
