import type { State, Tensor } from '@forerun/tensor';

/**
 * Rows of one forward pass. A chain's rows follow each other; a tree's rows each name their ancestors. Rows from `count` on are
 * padding: they touch no state, and what they compute is not read.
 */
export interface Rows {
  /** `[M]` u32 tokens, or `[M, D]` f32 embeddings. */
  readonly inputs: Tensor;
  /** `[M]` u32: position for rope; may repeat. */
  readonly positions: Tensor;
  /** `[M]` u32: logical index in the row's own sequence = length + depth; the row attends to 0 ..= this. */
  readonly depths: Tensor;
  /** `[M]` u32: cache slot that the row is written to = length + row. */
  readonly slots: Tensor;
  /** `[M]` u32: length of the sequence that length-dependent rope scaling adapts to: the whole prompt in prefill, depth + 1 after. */
  readonly spans: Tensor;
  /** `[1]` u32: rows in use. */
  readonly count: Tensor;
  /** `[1]` u32: tokens in the cache before this pass. */
  readonly length: Tensor;
  /** `[M, maxDepth]` u32: slot of the row's ancestor at each depth, itself included; absent for a chain. */
  readonly path?: Tensor;
}

/** Marks that a state keeps; one more forgets the shortest. */
export const markSlots = 4;

/**
 * What the host knows of how a conversation went: what decides how far back a state can go that keeps the last inputs only. It lies
 * with the conversation, since one declared state serves many of them.
 */
export interface Past {
  /** Length that the state was last brought back to from a mark, or 0: of what is shorter it holds marks only. */
  readonly restored: number;
  /** One past the last position that a pass since then may have written, rejected rows and rounds in flight included. */
  readonly written: number;
  /** Lengths at which `mark` was traced and that are still a prefix of the conversation, ascending, at most {@link markSlots}. */
  readonly marks: readonly number[];
}

/** A state that can go back to fewer tokens. The methods that take tensors build graph; the others run on the host. */
export interface Rewindable {
  /** Every buffer that a conversation must allocate for it. */
  readonly states: readonly State[];
  /**
   * Keeps the first `to` (`[1]` u32) tokens: `to` is a length that `reachable` gave, or by at most the declared `rollbackTokens` less
   * than what was written. Marks behind `to` are forgotten.
   */
  truncate(to: Tensor): void;
  /** On the host: the longest length <= `length` that `truncate` can restore in a conversation with this past. */
  reachable(length: number, past: Past): number;
  /**
   * Remembers how to come back to `length` (`[1]` u32, the tokens kept at this point of the trace), however far the conversation goes
   * on. Absent where any length can be restored anyway, or none but the last.
   */
  mark?(length: Tensor): void;
}

/** On the host: the longest length <= `length` that all of `states` can restore in a conversation with this past. */
export function reachableByAll(states: readonly Rewindable[], length: number, past: Past): number {
  let reached = length;
  for (let before = -1; before !== reached;) {
    before = reached;
    for (const state of states) reached = Math.min(reached, state.reachable(reached, past));
  }
  return reached;
}

/** A decoder's memory of a conversation. */
export interface DecoderState extends Rewindable {
  /** Most tokens that it can hold. */
  readonly capacityTokens: number;
  /**
   * Keeps the accepted path of the last forward pass: `path` `[M]` u32 rows of the tree in order, `count` `[1]` u32 of them, `length`
   * `[1]` u32 tokens before the pass. A chain's path is a prefix of its rows, so nothing moves; `tree` says whether it may not be.
   */
  commit(accepted: { path: Tensor; count: Tensor; length: Tensor; tree: boolean }): void;
}

/** How a decoder's state is made. */
export interface DecoderStateOptions {
  /** Most tokens by which it will be asked to go back at once. */
  readonly rollbackTokens: number;
  /** Most rows of one pass, 512 by default; a memory that keeps the last positions only has to hold them all at once. */
  readonly passTokens?: number;
  /** Element type of cached keys and values: f32, or f16 packed in pairs (needs no device feature). */
  readonly cache?: 'f32' | 'f16';
  /** Prefix of the names of its states, to tell a draft model's from the target's. */
  readonly name?: string;
}

/** What a forward pass gives. */
export interface DecoderOutputs {
  /** `[M, D]` f32: residual stream before the final norm. */
  readonly hidden: Tensor;
  /** Residual stream `[M, D]` entering each layer asked for in `taps`, in that order. */
  readonly taps: readonly Tensor[];
}

/** Every model that produces text. All methods but `state` build graph; they compute nothing when called. */
export interface Decoder {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layerCount: number;
  /** Longest context that the model was made for. */
  readonly maxPositions: number;
  /** Whether it can verify trees; false for a recurrent state without a tree form. */
  readonly branching: boolean;
  /** Declares the state of one conversation. */
  state(capacityTokens: number, options: DecoderStateOptions): DecoderState;
  /** Embeddings `[M, D]` of tokens `[M]` u32; ids outside of the vocabulary give zeros. */
  embed(tokens: Tensor): Tensor;
  /** Runs layers `from ..< to` (all by default) over the rows and appends to the state. */
  forward(
    rows: Rows,
    state: DecoderState,
    options?: { readonly layers?: readonly [from: number, to: number]; readonly taps?: readonly number[] },
  ): DecoderOutputs;
  /** The final norm: `[M, D]` to `[M, D]`. */
  norm(hidden: Tensor): Tensor;
  /** Logits `[M, V]` of normed rows `[M, D]`. */
  head(normed: Tensor): Tensor;
}
