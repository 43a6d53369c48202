import type {
  Decoder,
  DecoderState,
  DecoderStateOptions,
  Drafter,
  DrafterState,
  Round,
  Rows,
  TokenTree,
} from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { Tensor } from '@forerun/tensor';
import { ArgumentError, concat, gather, gatherRows, readState, softmax, State, writeState } from '@forerun/tensor';
import type { CatchUpRows } from './catch-up-rows.ts';
import { catchUpRows } from './catch-up-rows.ts';
import { ChainChoice } from '../features/chain.ts';
import type { ChildChoice } from '../features/children.ts';
import { slackRows } from '../features/feature-memory.ts';

/** A smaller model with the target's vocabulary. */
export interface DraftModelOptions {
  readonly decoder: Decoder;
  /** Most tokens of the history that it takes in at the head of a round, at least 2; by default the round's width, 2 to 8. */
  readonly catchUpTokens?: number;
  /** Element type of its cached keys and values. */
  readonly cache?: DecoderStateOptions['cache'];
  /** How drafts are chosen; `coupled` by default. */
  readonly children?: ChildChoice;
  /**
   * Drafting ends behind the first draft that the draft model itself finds less likely than this, by the distribution that it is drawn from
   * or, where it is not drawn, by the softmax of the logits (transformers' `assistant_confidence_threshold`); from 0 to 1, 0 by default.
   */
  readonly confidence?: number;
}

/** The state of a draft model: its cache and how many tokens of the history are in it. */
interface DraftModelState extends DrafterState {
  readonly cache: DecoderState;
  /** `[1]` u32. */
  readonly held: State;
}

/** Tokens that are taken in beside a round without drafts: enough to catch up with many such rounds in a few. */
const plainRows = 16;

/** One pass over rows that follow each other, kept in the cache. Returns `[M, D]`. */
function ingest(decoder: Decoder, cache: DecoderState, rows: Omit<Rows, 'depths' | 'slots'>): Tensor {
  const { hidden } = decoder.forward({ ...rows, depths: rows.positions, slots: rows.positions }, cache);
  const { graph, shape } = rows.positions;
  const path = graph.constant(Uint32Array.from({ length: shape[0]! }, (_, row) => row));
  cache.commit({ path, count: rows.count, length: rows.length, tree: false });
  return hidden;
}

/** The pass over tokens that the cache lacks. Returns `[C, D]`. */
function catchUp(
  decoder: Decoder,
  cache: DecoderState,
  { tokens: inputs, positions, spans, count, begin: length }: CatchUpRows,
): Tensor {
  return ingest(decoder, cache, { inputs, positions, spans, count, length });
}

/** Declares the state of one conversation. */
function declareState(
  { decoder, cache: cacheType }: DraftModelOptions,
  capacityTokens: number,
  rollbackTokens: number,
): DraftModelState {
  if (capacityTokens > decoder.maxPositions) {
    throw new MismatchedPartsError(
      `The draft model was made for ${decoder.maxPositions} tokens, the conversation is to hold ${capacityTokens}. Ask for a smaller capacity or another draft model.`,
    );
  }
  const cache = decoder.state(capacityTokens + slackRows, {
    rollbackTokens,
    name: 'draft',
    ...(cacheType && { cache: cacheType }),
  });
  const held = new State({ name: 'draft held', shape: [1], dtype: 'u32' });
  return {
    cache,
    held,
    states: [...cache.states, held],
    // Its own cache lags behind the conversation, so that the conversation's marks are not its.
    reachable: (length, past) => cache.reachable(length, { ...past, marks: [] }),
    truncate(to) {
      const left = readState(to.graph, held, [0, 1]).min(to);
      cache.truncate(left);
      writeState(held, left);
    },
  };
}

/** Takes in what a round without its drafts kept; what it drafted, if anything, goes. The anchor stays out: the next proposal begins with it. */
function absorbMissed(decoder: Decoder, { loop, history, length }: Round, { cache, held }: DraftModelState): void {
  cache.truncate(readState(length.graph, held));
  const missed = catchUpRows(length, { history, loop, held }, { until: 'before-anchor', rows: plainRows, width: 0 });
  catchUp(decoder, cache, missed);
  writeState(held, missed.begin.add(missed.count));
}

/** Counts the drafts up to the first that its model is not sure of. */
class UsedDrafts {
  readonly #confidence: number;
  #rows: Tensor;
  #sure: Tensor;

  constructor({ ready, used }: CatchUpRows, confidence: number) {
    this.#confidence = confidence;
    this.#rows = confidence > 0 ? ready.mul(0).add(1) : used;
    this.#sure = ready;
  }

  /** Takes in a draft `[1]` u32, the logits `[1, V]` that it was chosen from, and the distribution `[1, V]` where it was drawn. */
  add(token: Tensor, logits: Tensor, drawnFrom: Tensor | undefined): void {
    if (this.#confidence === 0) return;
    this.#rows = this.#rows.add(this.#sure);
    const p = drawnFrom ?? softmax(logits);
    const none = logits.graph.constant(Uint32Array.of(0));
    this.#sure = gather(p.reshape([-1]), token)
      .less(this.#confidence)
      .select(none, this.#sure);
  }

  /** `[1]` u32: rows of the tree in use, the anchor included. */
  get rows(): Tensor {
    return this.#rows;
  }
}

/**
 * Speculative decoding with a small model of the same vocabulary (Leviathan et al. 2023, Chen et al. 2023): it continues the context
 * by a chain of `width - 1` tokens, all inside the round, with the target's settings and, unless asked otherwise, the target's own noise: so
 * at a temperature too both draw the same token wherever they agree closely enough (Gumbel-coupled drafting). With `children: 'drawn'` it draws
 * by itself and hands over the distribution, for `rejectionSampling` and `blockVerification`. At temperature 0 it drafts greedily.
 *
 * Tokens that it has not seen are taken in at the head of a round: two after a round whose drafts were all accepted, more after
 * rounds without it. While it lags further behind than `catchUpTokens` it proposes nothing. Penalties do not see its own drafts.
 *
 * @throws {@link ArgumentError} for options that make no sense; {@link MismatchedPartsError}, when a round or a state is made, if the
 *   vocabularies differ in size or it cannot hold the conversation
 */
export function draftModel(options: DraftModelOptions): Drafter {
  const { decoder, catchUpTokens, children = 'coupled', confidence = 0 } = options;
  if (catchUpTokens !== undefined && (!Number.isInteger(catchUpTokens) || catchUpTokens < 2 || catchUpTokens > 1024)) {
    throw new ArgumentError(`draftModel: catchUpTokens is an integer from 2 to 1024, got ${catchUpTokens}.`);
  }
  if (!(confidence >= 0 && confidence <= 1)) {
    throw new ArgumentError(`draftModel: confidence is a number from 0 to 1, got ${confidence}.`);
  }
  const taken = new WeakMap<TokenTree, CatchUpRows>();
  return {
    name: 'draft-model',
    needs: {},
    gives: { distribution: children === 'drawn' },

    state: (capacityTokens, { rollbackTokens }) => declareState(options, capacityTokens, rollbackTokens),

    prefill({ rows }, state, { history, loop }) {
      const { cache, held } = state as DraftModelState;
      const chunk = rows.positions.shape[0]!;
      const next = catchUpRows(rows.count, { history, loop, held }, { until: 'prompt', rows: chunk, width: 0 });
      catchUp(decoder, cache, next);
      writeState(held, next.begin.add(next.count));
    },

    propose(round, state) {
      const { width, loop, history } = round;
      const { cache, held } = state as DraftModelState;
      const { vocabSize } = round.decoder;
      if (decoder.vocabSize !== vocabSize) {
        throw new MismatchedPartsError(
          `The draft model has a vocabulary of ${decoder.vocabSize} tokens, the target one of ${vocabSize}; they must be the same.`,
        );
      }
      const rows = catchUpTokens ?? Math.min(Math.max(width, 2), 8);
      const next = catchUpRows(round.length, { history, loop, held }, { until: 'anchor', rows, width });
      const choice = new ChainChoice(round, children);
      const used = new UsedDrafts(next, confidence);
      const choose = (hidden: Tensor) => {
        const logits = decoder.head(decoder.norm(hidden));
        const token = choice.next(logits);
        used.add(token, logits, choice.drawnFrom);
        return token;
      };
      const first = catchUp(decoder, cache, next);
      const drafts = width > 1 ? [choose(gatherRows(first, next.last))] : [];
      for (let step = 1; step < width - 1; step++) {
        const position = next.steps[step]!;
        const hidden = ingest(decoder, cache, {
          inputs: drafts.at(-1)!,
          positions: position,
          spans: next.steps[step + 1]!,
          count: next.ready,
          length: position,
        });
        drafts.push(choose(hidden));
      }
      const tokens = concat([round.anchor, ...drafts], 0);
      const tree: TokenTree = {
        width,
        depth: width - 1,
        chain: true,
        tokens,
        count: used.rows,
        ...choice.distribution,
      };
      taken.set(tree, next);
      return tree;
    },

    absorb(round, { tree, accepted }, state) {
      const { cache, held } = state as DraftModelState;
      const next = taken.get(tree);
      if (!next) return absorbMissed(decoder, round, state as DraftModelState);
      // The last draft was never taken in, so at most the anchor and width - 2 drafts are in the cache.
      const drafts = accepted.count.sub(1).min(Math.max(round.width - 2, 0));
      const left = next.ready.select(round.length.add(1).add(drafts), next.begin.add(next.count));
      cache.truncate(left);
      writeState(held, left);
    },
  };
}
