import type { Drafter, TargetOutputs } from '@forerun/contracts';
import type { HydraHeads } from '@forerun/mtp';
import type { Tensor } from '@forerun/tensor';
import { chain, choose } from '../features/chain.ts';
import { expectCapacity, FeatureMemory, slackRows } from '../features/feature-memory.ts';
import { keptRows, type KnownRows, prefilledRows } from '../features/known-rows.ts';

/**
 * Drafts with Hydra heads (Ankner et al. 2024, arXiv:2402.05109): a chain in which each head sees the tokens before its own. A round has
 * use for as many rows as there are heads, and the anchor.
 *
 * @param heads - From `hydraHeads` of `@forerun/mtp`, made for the target.
 * @throws MismatchedPartsError when a conversation is to hold more tokens than the prefix layer was made for.
 */
export function hydra(heads: HydraHeads): Drafter {
  const { prefix } = heads;
  const takeIn = (known: KnownRows, target: TargetOutputs, memory: FeatureMemory): void => {
    const hidden = known.pick(target.hidden!);
    const seen = prefix ? prefix.forward(memory.rowsOf(known, hidden), hidden, memory.cache!) : hidden;
    memory.keep(known, { hidden: seen });
  };
  return {
    name: 'hydra',
    needs: heads.needs,
    gives: { distribution: false },
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
      const drafts: Tensor[] = [];
      for (let head = 0; head < Math.min(heads.count, round.width - 1); head++) {
        drafts.push(choose(round, heads.logits(hidden, [round.anchor, ...drafts]), head + 1));
      }
      return chain(round, drafts, memory.ready(round.length));
    },
    absorb: (round, { accepted, target }, state) => takeIn(keptRows(round, accepted), target, state as FeatureMemory),
  };
}
