import { ArgumentError } from '@forerun/tensor';

/** Sizes of lookahead decoding, in the words of its paper: W, N and G. */
export interface LookaheadSizes {
  /** Columns of the window. */
  readonly window: number;
  /** Tokens of an n-gram, the one that it is found by included; at least 3. */
  readonly ngram: number;
  /** Most n-grams that are kept for a token, and verified in a round. */
  readonly guesses: number;
  /** Tokens of an n-gram behind the first that are verified. */
  readonly verified: number;
}

/** Most of each size. */
const most = { window: 32, ngram: 16, guesses: 64 } as const;

/** Refuses sizes that make no sense. */
export function checkSizes(sizes: LookaheadSizes): void {
  const { window, ngram, guesses, verified } = sizes;
  const least = { window: 1, ngram: 3, guesses: 1 } as const;
  for (const [name, size] of Object.entries({ window, ngram, guesses }) as [keyof typeof least, number][]) {
    if (!Number.isInteger(size) || size < least[name] || size > most[name]) {
      throw new ArgumentError(`lookahead: ${name} is an integer from ${least[name]} to ${most[name]}, got ${size}.`);
    }
  }
  if (!Number.isInteger(verified) || verified < 1 || verified >= ngram) {
    throw new ArgumentError(`lookahead: verified is an integer from 1 to ngram - 1 (${ngram - 1}), got ${verified}.`);
  }
}

/** Most tokens of a row of the window: the first row begins with as many as will move out of it until all rows are there. */
export const windowColumns = ({ window, ngram }: LookaheadSizes): number => window + ngram - 3;

/** Words of the window's state: its rows, and how many of them are there. */
export const windowWords = (sizes: LookaheadSizes): number => (sizes.ngram - 1) * windowColumns(sizes) + 1;

/** u32 words that the n-grams of a token take: how many they are, then their tokens, the least recently seen n-gram first. */
export const poolStride = ({ ngram, guesses }: LookaheadSizes): number => 1 + guesses * (ngram - 1);

/** Tokens in row `level` of the window while it has `filled` rows. */
export function rowLength({ window, ngram }: LookaheadSizes, filled: number, level: number): number {
  return window + ngram - 1 - filled - (level === 0 ? 1 : 0);
}

/** Tokens in the window while it has `filled` rows. */
export function windowTokens(sizes: LookaheadSizes, filled: number): number {
  return rowLength(sizes, filled, 0) + (filled - 1) * rowLength(sizes, filled, 1);
}

/** Rows of a round that has room for the anchor and the window at its largest. */
export function windowWidth(sizes: LookaheadSizes): number {
  const filled = Array.from({ length: sizes.ngram - 1 }, (_, index) => index + 1);
  return 1 + Math.max(...filled.map((rows) => windowTokens(sizes, rows)));
}
