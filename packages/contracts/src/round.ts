import type { State, Tensor } from '@forerun/tensor';
import type { Decoder, DecoderState, Rewindable, Rows } from './decoder.ts';
import type { Accepted, TokenTree } from './tree.ts';

/** What a draw is for; draws of different purposes are independent. */
export type Purpose = 'target' | 'draft' | 'accept' | 'residual';

/** Noise that is a pure function of (seed, position, token or index, purpose): the same in every width and order. */
export interface Noise {
  /** Standard Gumbel noise for tokens 0 ..< `vocabSize` at each position: `[M]` u32 to `[M, V]` f32. */
  gumbel(positions: Tensor, vocabSize: number, purpose: Purpose): Tensor;
  /** Uniforms in [0, 1) for (position, index) pairs: `[M]` and `[M]` u32 to `[M]` f32. */
  uniform(positions: Tensor, index: Tensor, purpose: Purpose): Tensor;
}

/** Sampling settings as states that the host writes between submits, so that one program serves all of them. */
export interface Sampling {
  /**
   * `[16]` u32 words, floats by their bits: 0 temperature (0 is greedy), 1 top-k (0 is off), 2 top-p (0 and 1 are off), 3 min-p (0 is
   * off), 4 repetition penalty, 5 presence penalty, 6 frequency penalty, 7 seed (low), 8 seed (high), 9 whether any penalty is on.
   */
  readonly settings: State;
  /** `[2, V]` u32: how often each token occurs in the context, the anchor included (row 0), and in its generated part (row 1). */
  readonly counts: State;
}

/** The target's outputs for rows that were verified or prefilled. */
export interface TargetOutputs {
  readonly rows: Rows;
  /** `[M, D]`, before or after the final norm as the drafter's `needs` says. */
  readonly hidden?: Tensor;
  readonly taps?: readonly Tensor[];
  /** `[M, k]` u32: best tokens of every row, kept or not, best first; absent in prefill, which makes no logits. */
  readonly topTokens?: Tensor;
}

/** First words of the loop state, a u32 state that kernels may bind as uniform (`array<vec4<u32>, 8>`). */
export const loopWords = {
  /** Not 0: every kernel returns at once. */
  stop: 0,
  /** Tokens in the target's cache: kept tokens less the anchor. */
  length: 1,
  /** The last kept token. */
  anchor: 2,
  /** Tokens put into the output ring so far. */
  produced: 3,
  /** Tokens that may still be produced. */
  budget: 4,
  /** Rounds run. */
  rounds: 5,
  /** Draft tokens verified. */
  drafted: 6,
  /** Draft tokens accepted. */
  accepted: 7,
  /** Length of the prompt, for penalties on generated tokens only. */
  promptLength: 8,
  /** Most tokens that the history may hold. */
  capacity: 9,
  /** Why `stop` is set: 1 stop token, 2 budget, 3 capacity, 4 not a number. */
  reason: 10,
  /** Tokens that prefill has to bring into the cache: the prompt's length less 1. */
  prefillEnd: 12,
} as const;

/** Number of u32 words of the loop state that the contract names; the loop keeps its own behind them. */
export const loopStateWords = 32;

/** Everything that a drafter or a verifier may look at in a round. */
export interface Round {
  /** Rows of the verify pass, the anchor included. */
  readonly width: number;
  /** The loop state, u32; its first 32 words as in {@link loopWords}. */
  readonly loop: State;
  /** `[capacity]` u32: every token kept so far, prompt included; entry `length` is the anchor. */
  readonly history: State;
  /** `[1]` u32: the last kept token. */
  readonly anchor: Tensor;
  /** `[1]` u32: tokens in the target's cache; the anchor's position. */
  readonly length: Tensor;
  /** Rows of the verify pass; absent while a tree is being proposed. */
  readonly rows?: Rows;
  readonly sampling: Sampling;
  readonly noise: Noise;
  readonly decoder: Decoder;
  readonly state: DecoderState;
}

/** A drafter's memory of a conversation. */
export interface DrafterState extends Rewindable {
  /**
   * `[1 + k]` u32, for drafters with a function on the host: where the loop writes, before a round, how many tokens the function gave,
   * and up to k of them.
   */
  readonly guess?: State;
}

/** Where guesses come from. All methods but `host` build graph. */
export interface Drafter {
  /** Name in statistics. */
  readonly name: string;
  /** What it wants of the target's passes. */
  readonly needs: {
    readonly taps?: readonly number[];
    readonly hidden?: 'before-norm' | 'after-norm';
    /** How many of the best tokens of every verified row. */
    readonly topTokens?: number;
  };
  /** Whether its trees carry the distribution that tokens were drawn from. */
  readonly gives: { readonly distribution: boolean };
  /** Declares its state of one conversation. */
  state(capacityTokens: number, options: { readonly rollbackTokens: number }): DrafterState;
  /** Takes in a prefilled chunk of the prompt; the history holds the whole prompt already. */
  prefill(target: TargetOutputs, state: DrafterState, context: Pick<Round, 'loop' | 'history'>): void;
  /** Proposes a tree of `round.width` rows under the anchor. */
  propose(round: Round, state: DrafterState): TokenTree;
  /** Takes in what was kept: of its proposal, or of a round without one, whose tree is the anchor alone. */
  absorb(
    round: Round,
    outcome: { tree: TokenTree; accepted: Accepted; target: TargetOutputs },
    state: DrafterState,
  ): void;
  /**
   * A user's own function on the host: from every token kept so far to those that it expects next. It is asked before each round wider
   * than 1, which costs a readback a round; the answer is written to the state's `guess`.
   */
  host?(tokens: Uint32Array): Promise<readonly number[]>;
}

/** What may be kept of a tree, given the target's logits. Builds graph. */
export interface Verifier {
  /** Name in statistics. */
  readonly name: string;
  readonly needs: { readonly distribution?: boolean };
  /** `tokens`: output equals plain decoding's token for token; `distribution`: its distribution does; `lossy`: neither. */
  readonly exactness: 'tokens' | 'distribution' | 'lossy';
  /** Decides; `logits` are `[M, V]` f32 of the tree's rows. */
  verify(tree: TokenTree, logits: Tensor, round: Round): Accepted;
}

/** Turns tokens into text as they arrive. */
export interface Detokenizer {
  /** Text that is certain after one more token; never part of a character. */
  push(token: number): string;
  /** What was held back. */
  flush(): string;
}
