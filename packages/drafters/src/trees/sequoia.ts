import { ArgumentError } from '@forerun/tensor';
import type { TreeShape } from './tree-shape.ts';
import { maxTreeWidth, staticTree } from './tree-shape.ts';

/** What a hardware-aware tree is made from. */
export interface SequoiaOptions {
  /** `acceptance[r]`: measured probability that the child of rank r is the one that is accepted, given that its parent is. */
  readonly acceptance: readonly number[];
  /** Milliseconds of a round of `width` rows at draft depth `depth`: draft, verify and commit, measured on the device. */
  readonly roundMs: (width: number, depth: number) => number;
  /** Most rows; 64 by default. */
  readonly maxWidth?: number;
  /** Largest depth; 16 by default. */
  readonly maxDepth?: number;
}

/** A tree, and what is expected of it. */
export interface SequoiaTree {
  readonly shape: TreeShape;
  /** Expected tokens of a round: the accepted drafts and the one behind them. */
  readonly expectedTokens: number;
  readonly tokensPerMs: number;
}

/**
 * Best trees by dynamic programming: `c(n, d) = 1 + max over sizes s_0 + s_1 + ... = n - 1 of sum p_r c(s_r, d - 1)` is the
 * expected number of accepted rows of the best tree of n rows, its root accepted, at most d deep.
 */
class BestTrees {
  readonly #value: Float64Array[] = [];
  readonly #first: Uint8Array[] = [];
  readonly #acceptance: readonly number[];
  readonly #width: number;

  constructor(acceptance: readonly number[], width: number, depth: number) {
    this.#acceptance = acceptance;
    this.#width = width;
    const ranks = acceptance.length;
    for (let d = 0; d <= depth; d++) {
      // Best use of m rows as the children of ranks r, r + 1, ...; without children nothing.
      const value = new Float64Array((ranks + 1) * width);
      const first = new Uint8Array((ranks + 1) * width);
      for (let r = ranks - 1; r >= 0 && d > 0; r--) {
        for (let m = 1; m < width; m++) {
          for (let size = 1; size <= m; size++) {
            const total = acceptance[r]! * (1 + this.#children(d - 1, size - 1)) + value[(r + 1) * width + m - size]!;
            if (total > value[r * width + m]! + 1e-12) {
              value[r * width + m] = total;
              first[r * width + m] = size;
            }
          }
        }
      }
      this.#value.push(value);
      this.#first.push(first);
    }
  }

  #children(depth: number, rows: number): number {
    return this.#value[depth]![rows]!;
  }

  /** Expected accepted rows of the best tree of `rows` rows, the root included. */
  value(depth: number, rows: number): number {
    return 1 + this.#children(depth, rows - 1);
  }

  /** Its paths. */
  paths(depth: number, rows: number, above: readonly number[] = []): number[][] {
    const found: number[][] = [];
    let left = rows - 1;
    for (let r = 0; r < this.#acceptance.length && left > 0; r++) {
      const size = this.#first[depth]![r * this.#width + left]!;
      if (size === 0) break;
      const path = [...above, r];
      found.push(path, ...this.paths(depth - 1, size, path));
      left -= size;
    }
    return found;
  }
}

/**
 * The static tree of most expected tokens per millisecond, by Sequoia's dynamic programme over all widths and depths: what is accepted
 * comes from measured acceptance by rank, what it costs from measured rounds.
 *
 * Source: Chen et al. 2024, "Sequoia: scalable, robust, and hardware-aware speculative decoding" (2402.12374).
 * @throws {@link ArgumentError} for acceptances that are no probabilities or sum to more than 1, for widths and depths that do not
 *   fit, and for round times that are not positive
 */
export function sequoiaTree(options: SequoiaOptions): SequoiaTree {
  const { acceptance, roundMs, maxWidth = maxTreeWidth, maxDepth = 16 } = options;
  const sum = acceptance.reduce((total, one) => total + one, 0);
  if (!acceptance.every((one) => one >= 0 && one <= 1) || !(sum <= 1 + 1e-9)) {
    throw new ArgumentError(
      `sequoiaTree: acceptance by rank are probabilities that sum to at most 1, got ${acceptance.join(', ')}.`,
    );
  }
  if (
    !Number.isInteger(maxWidth) ||
    maxWidth < 1 ||
    maxWidth > maxTreeWidth ||
    !Number.isInteger(maxDepth) ||
    maxDepth < 0
  ) {
    throw new ArgumentError(
      `sequoiaTree: expected a maxWidth from 1 to ${maxTreeWidth} and a maxDepth of at least 0, got ${maxWidth} and ${maxDepth}.`,
    );
  }
  const trees = new BestTrees(acceptance, maxWidth, maxDepth);
  let best: { width: number; depth: number; rate: number } | undefined;
  for (let depth = 0; depth <= maxDepth; depth++) {
    for (let width = 1; width <= maxWidth; width++) {
      const ms = roundMs(width, depth);
      if (!(ms > 0 && Number.isFinite(ms))) {
        throw new ArgumentError(`sequoiaTree: expected a positive time of a round, got ${ms} ms at width ${width}.`);
      }
      const rate = trees.value(depth, width) / ms;
      if (!best || rate > best.rate + 1e-12) best = { width, depth, rate };
    }
  }
  const { width, depth } = best!;
  return {
    shape: staticTree(trees.paths(depth, width)),
    expectedTokens: trees.value(depth, width),
    tokensPerMs: best!.rate,
  };
}
