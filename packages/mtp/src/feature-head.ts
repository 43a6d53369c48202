import type { DecoderState, DecoderStateOptions, Drafter, Rows, TargetOutputs } from '@forerun/contracts';
import type { Tensor, Weight } from '@forerun/tensor';

/**
 * A head that goes on from the target's features with a layer and a cache of its own. Row t holds the feature of token t and the token
 * behind it, x_{t+1}; it predicts x_{t+2}. Behind the last feature it goes on from what it gave itself. All methods but `state` build
 * graph.
 */
export interface FeatureHead {
  /** Name in statistics. */
  readonly name: string;
  /** What it wants of the target's passes. */
  readonly needs: Drafter['needs'];
  /** Every weight of its own, for `loadWeights`. */
  readonly weights: readonly Weight[];
  /** D, width of what it gives. */
  readonly hiddenSize: number;
  /** Vd, entries of its logits; smaller than the target's vocabulary where it has a vocabulary of its own. */
  readonly vocabSize: number;
  /** Layers that take turns at depths 0, 1, …; one in most. */
  readonly layerCount: number;
  /** Longest context that it was made for. */
  readonly maxPositions: number;
  /** Declares the caches of one conversation. */
  state(capacityTokens: number, options: DecoderStateOptions): DecoderState;
  /** Features `[M, F]` of a target's pass. */
  features(target: Pick<TargetOutputs, 'hidden' | 'taps'>): Tensor;
  /**
   * Runs a layer over rows and appends to its cache.
   *
   * @param rows - `inputs`: `[M]` u32 tokens x_{t+1}; `positions`: t.
   * @param features - `[M, F]` of the target, or `[M, D]` that an earlier call recycled.
   * @param layer - Which of its layers; 0 by default.
   * @returns `hidden` `[M, D]`, for `logits`; `recycled` `[M, D]`, the features of the rows behind.
   */
  forward(rows: Rows, features: Tensor, state: DecoderState, layer?: number): { hidden: Tensor; recycled: Tensor };
  /** Logits `[M, Vd]` of hidden rows `[M, D]`. */
  logits(hidden: Tensor): Tensor;
  /** The target's tokens `[M…]` u32 of its own `[M…]` u32. */
  tokens(own: Tensor): Tensor;
  /** Logits `[M, Vd]` as `[M, V]` of the target's vocabulary; tokens that it does not know get -3e38. */
  spread(logits: Tensor): Tensor;
}
