import type { Drafter, Rows } from '@forerun/contracts';
import { MismatchedPartsError, noState } from '@forerun/contracts';
import { type Tensor } from '@forerun/tensor';
import { chain, ChainChoice } from '../features/chain.ts';
import type { ChildChoice } from '../features/children.ts';
import { expectWholeNumber } from '../whole-number.ts';

/** Where the target is left. */
export interface EarlyExitOptions {
  /** E: layers 0 ..< E draft, at least 1 and fewer than the target has. */
  readonly layer: number;
  /** Most tokens that are drafted in a round, however wide it is; as many as fit by default. */
  readonly depth?: number;
  /** How drafts are chosen; `coupled` by default. */
  readonly children?: ChildChoice;
}

/**
 * Self-speculation (LayerSkip, Elhoushi et al. 2024, arXiv:2404.16710): the target's own layers 0 ..< E, its final norm and its head draft a
 * chain of `width - 1` tokens, with the target's settings. It has no weights and no state of its own: drafting goes on in the
 * target's cache, at the slots behind the anchor. Verification writes those rows again in all layers, with the same bits in the first E, so
 * nothing of a rejected draft is ever read.
 *
 * The published code verifies from the hidden states at the exit, and runs the first layers once more for the last draft alone. Here
 * verification runs all layers over all rows: weights are what a round reads, and either way those of the first layers are read once for it.
 *
 * Drafts are good where the model was trained to be left early, as the published LayerSkip checkpoints and the shipped story model are.
 *
 * @throws ArgumentError for a layer or depth that is not a whole number of at least 1; when a round is made, MismatchedPartsError for a
 *   target that has no layer behind the exit, or whose state is not addressed by position.
 */
export function earlyExit({ layer, depth = Infinity, children = 'coupled' }: EarlyExitOptions): Drafter {
  expectWholeNumber('earlyExit', { layer });
  if (depth !== Infinity) expectWholeNumber('earlyExit', { depth });
  return {
    name: 'early-exit',
    needs: {},
    gives: { distribution: children === 'drawn' },
    state: () => noState,
    prefill: () => undefined,
    propose(round) {
      const { decoder, state, length, anchor } = round;
      expectLayers(decoder, layer);
      const one = length.graph.constant(Uint32Array.of(1));
      const choice = new ChainChoice(round, children);
      const drafts: Tensor[] = [];
      let token = anchor;
      for (let step = 0; step < Math.min(round.width - 1, depth); step++) {
        const position = length.add(step);
        const row: Rows = {
          inputs: token,
          positions: position,
          depths: position,
          slots: position,
          spans: position.add(1),
          count: one,
          length: position,
        };
        const { hidden } = decoder.forward(row, state, { layers: [0, layer] });
        token = choice.next(decoder.head(decoder.norm(hidden)));
        drafts.push(token);
      }
      return { ...chain(round, drafts, one), ...choice.distribution };
    },
    absorb: () => undefined,
  };
}

function expectLayers(decoder: { readonly layerCount: number; readonly branching: boolean }, layer: number): void {
  if (layer >= decoder.layerCount) {
    throw new MismatchedPartsError(
      `earlyExit: expected a layer before the target's last, of ${decoder.layerCount}, got ${layer}. Choose from 1 to ${decoder.layerCount - 1}.`,
    );
  }
  if (!decoder.branching) {
    throw new MismatchedPartsError(
      'earlyExit: drafting in the state of the target needs one that keeps a row for each position; this target has layers with a recurrent state. Choose another drafter.',
    );
  }
}
