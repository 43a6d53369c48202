import type { DecoderState, DecoderStateOptions, Rows } from '@forerun/contracts';
import type { Tensor, Weight } from '@forerun/tensor';

/** What attention has to know of one layer. */
export interface AttentionLayer {
  /** Heads of keys and values, K. */
  readonly kvHeads: number;
  /** Width of a query or key head, E. */
  readonly headDim: number;
  /** Width of a value head; `headDim` by default. */
  readonly valueDim?: number;
  /** Factor on dot products; `1 / sqrt(headDim)` by default. */
  readonly scale?: number;
  /** Only the last `window` positions are seen, the row's own included; all by default. */
  readonly window?: number;
  /** Scores become `softcap * tanh(score / softcap)`. */
  readonly softcap?: number;
  /** `[H]` f32 learned scores that take weight but have no value. */
  readonly sinks?: Weight;
}

/** Queries, keys and values of the rows of one layer, rotated where the model rotates them. */
export interface AttentionHeads {
  /** `[M, H, E]` f32. */
  readonly q: Tensor;
  /** `[M, K, E]` f32. */
  readonly k: Tensor;
  /** `[M, K, Ev]` f32. */
  readonly v: Tensor;
}

/**
 * What the attention of all layers keeps of one conversation, and how rows look at it. A variant decides what is kept (keys and
 * values, a recurrent matrix, a feature map's sums), how rows of a chain or a tree attend, and how far it can go back; a variant that
 * takes more than queries, keys and values, such as gates, names it in `Heads`.
 */
export interface AttentionState<Heads = AttentionHeads> extends DecoderState {
  /**
   * Takes in the rows of a layer and lets them attend: `[M, H, Ev]` f32. Rows from `rows.count` on leave no trace.
   * Builds graph; the rows count as kept once the loop counts them.
   */
  attend(layer: number, heads: Heads, rows: Rows): Tensor;
}

/** A variant of attention: declares the state of one conversation for layers given from first to last. */
export type Attention<Heads = AttentionHeads> = (
  layers: readonly AttentionLayer[],
  capacityTokens: number,
  options: DecoderStateOptions,
) => AttentionState<Heads>;
