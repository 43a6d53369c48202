import type { Drafter } from '@forerun/contracts';
import type { MedusaHeads } from '@forerun/mtp';
import type { Tensor } from '@forerun/tensor';
import { chain, choose } from '../features/chain.ts';
import { FeatureMemory } from '../features/feature-memory.ts';
import { keptRows, prefilledRows } from '../features/known-rows.ts';

/**
 * Drafts with Medusa heads (Cai et al. 2024, arXiv:2401.10774): a chain of one token from each head, all from the hidden state of the
 * last token that the target has seen. A round has use for as many rows as there are heads, and the anchor.
 *
 * @param heads - From `medusaHeads` of `@forerun/mtp`, made for the target.
 */
export function medusa(heads: MedusaHeads): Drafter {
  return {
    name: 'medusa',
    needs: heads.needs,
    gives: { distribution: false },
    state: (capacityTokens) =>
      new FeatureMemory({ name: 'medusa', capacityTokens, values: { hidden: heads.hiddenSize } }),
    prefill(target, state) {
      const known = prefilledRows(target);
      (state as FeatureMemory).keep(known, { hidden: known.pick(target.hidden!) });
    },
    propose(round, state) {
      const memory = state as FeatureMemory;
      const hidden = memory.value(round.length.graph, 'hidden');
      const drafts: Tensor[] = [];
      for (let head = 0; head < Math.min(heads.count, round.width - 1); head++) {
        drafts.push(choose(round, heads.logits(hidden, head), head + 1));
      }
      return chain(round, drafts, memory.ready(round.length));
    },
    absorb(round, { accepted, target }, state) {
      const known = keptRows(round, accepted);
      (state as FeatureMemory).keep(known, { hidden: known.pick(target.hidden!) });
    },
  };
}
