import type { Drafter, Rows, TargetOutputs } from '@forerun/contracts';
import type { BlockHead } from '@forerun/mtp';
import { concat, sample, slice } from '@forerun/tensor';
import { chain } from '../features/chain.ts';
import { expectCapacity, FeatureMemory, slackRows } from '../features/feature-memory.ts';
import { keptRows, type KnownRows, prefilledRows } from '../features/known-rows.ts';

/**
 * Drafts with a block drafter (DFlash, arXiv:2602.06036; JetSpec, arXiv:2606.18394): all tokens of a chain from one pass over the anchor
 * and mask tokens. A round has use for as many rows as its block.
 *
 * @param head - From `blockHead` of `@forerun/mtp`, made for the target.
 * @throws MismatchedPartsError when a conversation is to hold more tokens than the head was made for.
 */
export function block(head: BlockHead): Drafter {
  const takeIn = (known: KnownRows, target: TargetOutputs, memory: FeatureMemory): void => {
    const taps = (target.taps ?? []).map((tap) => known.pick(tap));
    head.ingest(memory.rowsOf(known, known.positions), { taps }, memory.cache!);
    memory.keep(known, {});
  };
  return {
    name: 'block',
    needs: head.needs,
    gives: { distribution: false },

    state(capacityTokens, { rollbackTokens }) {
      expectCapacity('The block drafter', head.maxPositions, capacityTokens);
      const cache = head.state(capacityTokens + slackRows, { rollbackTokens, name: 'block' });
      return new FeatureMemory({ name: 'block', capacityTokens, values: {}, cache });
    },

    prefill: (target, state) => takeIn(prefilledRows(target), target, state as FeatureMemory),

    propose(round, state) {
      const memory = state as FeatureMemory;
      const { graph } = round.length;
      const B = head.blockSize;
      const ready = memory.ready(round.length);
      const masks = graph.constant(new Uint32Array(B - 1).fill(head.maskToken));
      const steps = graph.constant(Uint32Array.from({ length: B }, (_, row) => row));
      const first = memory.stepRow(round.length, round.anchor, { step: 0, count: ready });
      const slots = first.length.add(steps);
      const positions = round.length.add(steps);
      const rows: Rows = {
        inputs: concat([round.anchor, masks], 0),
        positions,
        depths: head.causal
          ? slots
          : slots
              .mul(0)
              .add(first.length)
              .add(B - 1),
        slots,
        spans: positions.add(1),
        count: ready.mul(B),
        length: first.length,
      };
      const used = Math.min(head.drafts, round.width - 1);
      const logits = slice(head.logits(rows, memory.cache!), 0, [0, used]);
      const places = round.length.add(graph.constant(Uint32Array.from({ length: used }, (_, i) => i + 1)));
      const drafts = sample(logits, { ...round.sampling, positions: places });
      return chain(round, [drafts], ready);
    },

    absorb: (round, { accepted, target }, state) => takeIn(keptRows(round, accepted), target, state as FeatureMemory),
  };
}
