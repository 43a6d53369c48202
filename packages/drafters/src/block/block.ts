import type { Drafter, Rows, TargetOutputs } from '@forerun/contracts';
import type { BlockHead } from '@forerun/mtp';
import { concat, slice } from '@forerun/tensor';
import { expectCapacity, FeatureMemory, slackRows } from '../features/feature-memory.ts';
import { keptRows, type KnownRows, prefilledRows } from '../features/known-rows.ts';
import { marginalTree, type MarginalTreeOptions } from '../features/marginal-tree.ts';

/**
 * Drafts with a block drafter (DFlash, arXiv:2602.06036; JetSpec, arXiv:2606.18394): one pass over the anchor and mask tokens gives a
 * distribution for each depth, and these a tree (DDTree, arXiv:2604.12989) or a chain. A chain has use for as many rows as the block. Where
 * the target verifies chains only, it is a chain unless a tree is asked for.
 *
 * @param head - From `blockHead` of `@forerun/mtp`, made for the target.
 * @param options - Which tree; `best-first` by default.
 * @throws ArgumentError for a tree that cannot be made; MismatchedPartsError when a conversation is to hold more tokens than the head was
 *   made for, and for a tree that was asked for and a target that verifies chains only.
 */
export function block(head: BlockHead, options: MarginalTreeOptions = {}): Drafter {
  const tree = marginalTree(options, { who: 'block', depths: head.drafts });
  const takeIn = (known: KnownRows, target: TargetOutputs, memory: FeatureMemory): void => {
    const taps = (target.taps ?? []).map((tap) => known.pick(tap));
    head.ingest(memory.rowsOf(known, known.positions), { taps }, memory.cache!);
    memory.keep(known, {});
  };
  return {
    name: 'block',
    needs: head.needs,
    gives: { distribution: options.children === 'drawn' },

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
      return tree(round, { logits: (depth) => slice(head.logits(rows, memory.cache!), 0, [0, depth]), ready });
    },

    absorb: (round, { accepted, target }, state) => takeIn(keptRows(round, accepted), target, state as FeatureMemory),
  };
}
