import { noToken, philox } from '@forerun/tensor';
import { type LookaheadSizes, poolStride, rowLength, windowColumns, windowWords } from './lookahead-sizes.ts';
import { type LookaheadConstants, windowSeed } from './lookahead.wgsl.ts';

/** A window on the host: its rows that are there. */
type Window = number[][];

/** Rows of a window in its state's words. */
function unpack(words: Float64Array, sizes: LookaheadSizes): Window {
  const filled = words[windowWords(sizes) - 1]!;
  const columns = windowColumns(sizes);
  return Array.from({ length: filled }, (_, level) =>
    Array.from(words.subarray(level * columns, level * columns + rowLength(sizes, filled, level))),
  );
}

function pack(window: Window, words: Float64Array, sizes: LookaheadSizes): void {
  const columns = windowColumns(sizes);
  window.forEach((row, level) => {
    words.fill(0, level * columns, (level + 1) * columns);
    words.set(row, level * columns);
  });
  words[windowWords(sizes) - 1] = window.length;
}

/** A row of a tree on the host. */
interface HostRow {
  readonly token: number;
  readonly parent: number;
  readonly depth: number;
}

/** What a round proposes: the anchor, the trie of its newest n-grams, the window. */
export function proposeLookahead(
  given: {
    readonly words: Float64Array;
    readonly pool: Float64Array;
    readonly history: Float64Array;
    readonly anchor: number;
    readonly length: number;
  },
  sizes: LookaheadSizes & Pick<LookaheadConstants, 'width' | 'tried' | 'looking' | 'vocabSize'>,
): { readonly rows: HostRow[]; readonly candidates: number } {
  const { words, pool, history, anchor, length } = given;
  const { ngram, guesses, tried, verified, width, looking, vocabSize } = sizes;
  if (looking && words[windowWords(sizes) - 1] === 0) {
    const first = Array.from({ length: windowColumns(sizes) }, (_, i) => {
      return history[philox([i, length, 0, 0], [windowSeed, 0])[0]! % (length + 1)]!;
    });
    pack([first], words, sizes);
  }
  const window = looking ? unpack(words, sizes) : [];
  const rows: HostRow[] = [{ token: anchor, parent: 0, depth: 0 }];
  const room = width - window.flat().length;
  if ((!looking || window.length === ngram - 1) && anchor < vocabSize) {
    const begin = anchor * poolStride(sizes) + 1;
    const rowOf = new Map<string, number>([['', 0]]);
    const known = Math.min(pool[begin - 1]!, guesses);
    for (let slot = known - 1; slot >= Math.max(known - tried, 0); slot--) {
      const path: number[] = [];
      for (let i = 0; i < verified; i++) {
        const parent = rowOf.get(path.join())!;
        path.push(pool[begin + slot * (ngram - 1) + i]!);
        if (rowOf.has(path.join())) continue;
        if (rows.length >= room) break;
        rowOf.set(path.join(), rows.length);
        rows.push({ token: path.at(-1)!, parent, depth: path.length });
      }
    }
  }
  const candidates = rows.length;
  const placed = new Map<string, number>();
  window.forEach((tokens, level) =>
    tokens.forEach((token, column) => {
      // Column c of the second row continues column c - 1 of the first.
      const above = level <= 1 ? `0 ${column - 1}` : `${level - 1} ${column}`;
      const parent = placed.get(above) ?? 0;
      placed.set(`${level} ${column}`, rows.length);
      rows.push({ token, parent, depth: rows[parent]!.depth + 1 });
    }),
  );
  return { rows, candidates };
}

/**
 * Moves the window by what the target said behind its last row; gives the n-grams of its columns once it is full. A tree that does not hold
 * the window was another drafter's.
 */
export function moveWindow(
  words: Float64Array,
  given: { readonly tokens: Float64Array; readonly topTokens: Float64Array; readonly candidates: number },
  sizes: LookaheadSizes,
): number[][] {
  const { tokens, topTokens, candidates } = given;
  const window = unpack(words, sizes);
  const ahead = window.slice(0, -1).flat().length;
  const results = window.at(-1)!.map((_, column) => topTokens[candidates + ahead + column]!);
  let ngrams = Array.from({ length: sizes.window }, () => Array.from({ length: sizes.ngram }, () => noToken));
  if (window.flat().some((token, i) => tokens[candidates + i] !== token)) return ngrams;
  if (window.length === sizes.ngram - 1) {
    ngrams = ngrams.map((_, column) => [
      [tokens[0]!, ...window[0]!][column]!,
      ...window.slice(1).map((row) => row[column]!),
      results[column]!,
    ]);
    pack([window[1]!.slice(1), ...window.slice(2), results], words, sizes);
  } else {
    const joining = window.length === 1 ? results : results.slice(1);
    pack([...window.map((row) => row.slice(1)), joining], words, sizes);
  }
  return ngrams;
}
