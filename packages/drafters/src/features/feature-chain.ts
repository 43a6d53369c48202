import type { Drafter, TargetOutputs } from '@forerun/contracts';
import type { FeatureHead } from '@forerun/mtp';
import { ArgumentError, gather, readState, type State, type Tensor } from '@forerun/tensor';
import { chain, choose } from './chain.ts';
import { expectCapacity, FeatureMemory, slackRows } from './feature-memory.ts';
import { keptRows, type KnownRows, prefilledRows } from './known-rows.ts';

/** How long chains are. */
export interface FeatureChainOptions {
  /** Most tokens that are drafted in a round, however wide it is; as many as fit by default. */
  readonly depth?: number;
}

/**
 * Chains from a head that goes on from the target's features. Known rows pass the head as soon as the target has computed them, so that a
 * round begins with the logits of the first draft; behind that the head goes on from its own output. Rows of drafts are
 * overwritten by the true ones.
 */
export function featureChain(head: FeatureHead, { depth = Infinity }: FeatureChainOptions): Drafter {
  if (depth !== Infinity && (!Number.isInteger(depth) || depth < 1)) {
    throw new ArgumentError(`${head.name}: depth is a whole number of at least 1, got ${depth}.`);
  }
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
    gives: { distribution: false },

    state(capacityTokens, { rollbackTokens }) {
      expectCapacity(`The ${head.name} head`, head.maxPositions, capacityTokens);
      return new FeatureMemory({
        name: head.name,
        capacityTokens,
        values: { hidden: head.hiddenSize, recycled: head.hiddenSize },
        cache: head.state(capacityTokens + slackRows, { rollbackTokens, name: head.name }),
      });
    },

    prefill(target, state, { history }) {
      takeIn(prefilledRows(target), target, { memory: state as FeatureMemory, history });
    },

    propose(round, state) {
      const memory = state as FeatureMemory;
      const { graph } = round.length;
      const ready = memory.ready(round.length);
      const drafts: Tensor[] = [];
      let [hidden, recycled] = [memory.value(graph, 'hidden'), memory.value(graph, 'recycled')];
      const most = Math.min(round.width - 1, depth);
      for (let step = 1; step <= most; step++) {
        const draft = choose(round, head.spread(head.logits(hidden)), step);
        drafts.push(draft);
        if (step === most) break;
        const row = memory.stepRow(round.length, draft, { step: step - 1, count: ready });
        ({ hidden, recycled } = head.forward(row, recycled, memory.cache!));
      }
      return chain(round, drafts, ready);
    },

    absorb(round, { accepted, target }, state) {
      takeIn(keptRows(round, accepted), target, { memory: state as FeatureMemory, history: round.history });
    },
  };
}
