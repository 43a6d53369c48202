/** N-gram pools of lookahead decoding as cases record them. */
import type { HostArray } from '@forerun/tensor';
import { listDifference } from './speculative-case.ts';

/** A pool: for each first token its n-grams without it, the least recently seen first. */
export type RecordedPool = Readonly<Record<string, readonly (readonly number[])[]>>;

/** Most n-grams of a token in any of the pools. */
export const mostGuesses = (pools: readonly (RecordedPool | undefined)[]): number =>
  Math.max(1, ...pools.flatMap((pool) => Object.values(pool ?? {}).map(({ length }) => length)));

/** Puts an n-gram into a pool: a known one moves to the end, and of too many the first goes. */
export function withNGram(pool: RecordedPool, ngram: readonly number[], guesses: number): RecordedPool {
  const [key, ...tokens] = ngram as [number, ...number[]];
  const known = (pool[key] ?? []).filter((other) => other.some((token, i) => token !== tokens[i]));
  return { ...pool, [key]: [...known, tokens].slice(-guesses) };
}

/** Puts in all n-grams of a text, in order. */
export function withText(
  pool: RecordedPool,
  text: readonly number[],
  { ngram, guesses }: { readonly ngram: number; readonly guesses: number },
): RecordedPool {
  let all = pool;
  for (let end = ngram; end <= text.length; end++) all = withNGram(all, text.slice(end - ngram, end), guesses);
  return all;
}

/** Puts in the n-grams of a full window's columns: its first row behind the anchor, the other rows, and what the target said behind them. */
export function withColumns(
  pool: RecordedPool,
  window: {
    readonly anchor: number;
    readonly rows: readonly (readonly number[])[];
    readonly results: readonly number[];
  },
  guesses: number,
): RecordedPool {
  const [first, ...rows] = window.rows;
  const keys = [window.anchor, ...first!];
  return window.results.reduce((all, result, column) => {
    return withNGram(all, [keys[column]!, ...rows.map((row) => row[column]!), result], guesses);
  }, pool);
}

/** Words of the drafter's pool: `[V, stride]`. */
export function poolWords(
  pool: RecordedPool,
  [vocabSize, stride]: readonly [number, number],
): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(vocabSize * stride);
  for (const [key, ngrams] of Object.entries(pool)) words.set([ngrams.length, ...ngrams.flat()], Number(key) * stride);
  return words;
}

/** A pool as the drafter holds it. */
export interface PoolWords {
  readonly words: HostArray;
  readonly stride: number;
  readonly ngram: number;
  /** Whether the order of a token's n-grams counts: without a limit, published code keeps a set. */
  readonly ordered: boolean;
}

/** What differs between the drafter's pool and a recorded one. */
export function poolDifference(
  what: string,
  { words, stride, ngram, ordered }: PoolWords,
  want: RecordedPool,
): string | undefined {
  const inOrder = (ngrams: readonly (readonly number[])[]) =>
    (ordered ? ngrams : ngrams.toSorted((a, b) => (a.join() < b.join() ? -1 : 1))).flat();
  for (let token = 0; token * stride < words.length; token++) {
    const [known = 0, ...rest] = words.subarray(token * stride, (token + 1) * stride);
    const got = Array.from({ length: known }, (_, slot) => rest.slice(slot * (ngram - 1), (slot + 1) * (ngram - 1)));
    const difference = listDifference(`${what}, n-grams of ${token}`, inOrder(got), inOrder(want[token] ?? []));
    if (difference !== undefined) return difference;
  }
  return undefined;
}
