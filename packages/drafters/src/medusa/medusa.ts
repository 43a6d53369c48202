import type { Drafter } from '@forerun/contracts';
import type { MedusaHeads } from '@forerun/mtp';
import { concat } from '@forerun/tensor';
import { FeatureMemory } from '../features/feature-memory.ts';
import { keptRows, prefilledRows } from '../features/known-rows.ts';
import { marginalTree, type MarginalTreeOptions } from '../features/marginal-tree.ts';

/**
 * Drafts with Medusa heads (Cai et al. 2024, arXiv:2401.10774): a tree, or a chain, of what each head guesses from the hidden state of the
 * last token that the target has seen. Where the target verifies chains only, it is a chain unless a tree is asked for.
 *
 * @param heads - From `medusaHeads` of `@forerun/mtp`, made for the target.
 * @param options - Which tree; `best-first` by default.
 * @throws ArgumentError for a tree that cannot be made; MismatchedPartsError for a tree that was asked for and a target that verifies
 *   chains only.
 */
export function medusa(heads: MedusaHeads, options: MarginalTreeOptions = {}): Drafter {
  const tree = marginalTree(options, { who: 'medusa', depths: heads.count });
  return {
    name: 'medusa',
    needs: heads.needs,
    gives: { distribution: options.children === 'drawn' },
    state: (capacityTokens) =>
      new FeatureMemory({ name: 'medusa', capacityTokens, values: { hidden: heads.hiddenSize } }),
    prefill(target, state) {
      const known = prefilledRows(target);
      (state as FeatureMemory).keep(known, { hidden: known.pick(target.hidden!) });
    },
    propose(round, state) {
      const memory = state as FeatureMemory;
      const hidden = memory.value(round.length.graph, 'hidden');
      return tree(round, {
        logits: (depth) =>
          concat(
            Array.from({ length: depth }, (_, head) => heads.logits(hidden, head)),
            0,
          ),
        ready: memory.ready(round.length),
      });
    },
    absorb(round, { accepted, target }, state) {
      const known = keptRows(round, accepted);
      (state as FeatureMemory).keep(known, { hidden: known.pick(target.hidden!) });
    },
  };
}
