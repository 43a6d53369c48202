import type { Tensor } from '@forerun/tensor';

/**
 * A fixed-size tree of draft tokens under an anchor. Row 0 is the anchor: the last kept token, not yet in the target's cache.
 * Width and depth are compile-time; unused rows are masked. A chain is a tree whose parents are row - 1.
 */
export interface TokenTree {
  /** Rows, the anchor included. */
  readonly width: number;
  /** Largest depth of a row; the anchor has depth 0. */
  readonly depth: number;
  /** Whether rows always follow each other, so that neither `path` nor compaction is needed. */
  readonly chain: boolean;
  /** `[M]` u32. */
  readonly tokens: Tensor;
  /** `[M]` u32: row of the parent, smaller than the row's own; 0 for the anchor. Absent for a chain. */
  readonly parents?: Tensor;
  /** `[M]` u32: depth under the anchor. Absent for a chain, where it is the row. */
  readonly depths?: Tensor;
  /** `[1]` u32: rows in use, a prefix; at least 1. */
  readonly count: Tensor;
  /**
   * `[1]` u32: rows that may be kept, a prefix of those in use, at least 1; all of them by default. The rows behind pass the target for
   * the drafter alone, such as lookahead's window.
   */
  readonly candidates?: Tensor;
  /** `[M, V]` f32: distribution that each row's children were drawn from, where a verifier asks for it. */
  readonly distribution?: Tensor;
}

/** What a verifier keeps of a tree. */
export interface Accepted {
  /** `[M]` u32: rows of the accepted path in order, the anchor first; entries from `count` on are unused. */
  readonly path: Tensor;
  /** `[1]` u32: rows of the path, the anchor included; 1 when every draft was rejected. */
  readonly count: Tensor;
  /** `[1]` u32: the token that follows the path. */
  readonly next: Tensor;
}
