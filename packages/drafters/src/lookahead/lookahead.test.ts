import type { Accepted, Round, TargetOutputs, TokenTree } from '@forerun/contracts';
import { loopStateWords, loopWords } from '@forerun/contracts';
import { ArgumentError, noToken, State } from '@forerun/tensor';
import { hold, randomSource, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { pathsOf } from '../continuations/expected-tree.ts';
import { windowTokens, windowWords } from './lookahead-sizes.ts';
import { lookahead, type LookaheadOptions, type LookaheadState } from './lookahead.ts';
import { insertNGrams } from './n-gram-pool.ts';

const device = await testDevice();
const vocabSize = 7;
const capacity = 40;
const history = new State({ name: 'history', shape: [capacity], dtype: 'u32' });
const loop = new State({ name: 'loop', shape: [loopStateWords], dtype: 'u32' });
const random = randomSource(12);
const randomTokens = (length: number) => Array.from({ length }, () => random.integer(vocabSize));
const scalar = (value: number) => ({ shape: [1], dtype: 'u32', data: [value] }) as const;

type Sizes = Omit<LookaheadOptions, 'vocabSize'>;

function drafterOf(sizes: Sizes) {
  const drafter = lookahead({ vocabSize, ...sizes });
  return { drafter, state: drafter.state() };
}

const sizesOf = ({ window = 4, ngram = 4, guesses = 4, verified = ngram - 1 }: Sizes) => ({
  window,
  ngram,
  guesses,
  verified,
});

/** Words of a window whose rows are given. */
function windowOf(rows: readonly (readonly number[])[], sizes: Sizes): number[] {
  const columns = sizesOf(sizes).window + sizesOf(sizes).ngram - 3;
  const words = Array.from({ length: windowWords(sizesOf(sizes)) }, () => 0);
  rows.forEach((row, level) => row.forEach((token, at) => (words[level * columns + at] = token)));
  words[words.length - 1] = rows.length;
  return words;
}

/** Words of a pool, by first token. */
function poolOf(ngrams: Readonly<Record<number, readonly (readonly number[])[]>>, state: LookaheadState): number[] {
  const stride = state.pool.shape[1]!;
  const words = Array.from({ length: vocabSize * stride }, () => 0);
  for (const [key, list] of Object.entries(ngrams)) {
    [list.length, ...list.flat()].forEach((word, i) => (words[Number(key) * stride + i] = word));
  }
  return words;
}

async function propose(
  sizes: Sizes,
  given: {
    width: number;
    tokens: readonly number[];
    window: readonly (readonly number[])[];
    pool: Readonly<Record<number, readonly (readonly number[])[]>>;
    branching?: boolean;
  },
) {
  const { width, tokens, branching = true } = given;
  const { drafter, state } = drafterOf(sizes);
  const words = new Uint32Array(loopStateWords);
  words[loopWords.length] = tokens.length - 1;
  words[loopWords.anchor] = tokens.at(-1)!;
  const { outputs, states } = await hold(device, {
    inputs: { length: scalar(tokens.length - 1) },
    body({ length }, graph) {
      const round = { width, history, loop, length, decoder: { branching } } as unknown as Round;
      const tree = drafter.propose(round, state);
      const chain = graph.constant(Uint32Array.from({ length: width }, (_, row) => Math.max(row, 1) - 1));
      const { candidates, count } = tree;
      return { tokens: tree.tokens, parents: tree.parents ?? chain, count, candidates: candidates! };
    },
    states: new Map<State, ArrayLike<number>>([
      [history, [...tokens, ...Array.from({ length: capacity - tokens.length }, () => 9)]],
      [loop, words],
      [state.window, windowOf(given.window, sizes)],
      [state.pool, poolOf(given.pool, state)],
    ]),
    tolerance: 0,
  });
  const [used, candidates] = [outputs.count![0]!, outputs.candidates![0]!];
  const paths = pathsOf(outputs.tokens!, outputs.parents!, used);
  return {
    guesses: paths.slice(0, candidates - 1),
    window: paths.slice(candidates - 1),
    state: Array.from(states.get(state.window)!),
  };
}

async function absorb(
  sizes: Sizes,
  given: {
    width: number;
    tokens: readonly number[];
    window: readonly (readonly number[])[];
    top: readonly number[];
    candidates: number;
    kept: number;
    length: number;
    strange?: boolean;
  },
) {
  const { drafter, state } = drafterOf(sizes);
  const { strange = false } = given;
  const rows = given.tokens.slice(given.length, given.length + given.width);
  if (!strange) given.window.flat().forEach((token, i) => (rows[given.candidates + i] = token));
  const { states } = await hold(device, {
    inputs: {
      tokens: { shape: [given.width], dtype: 'u32', data: rows },
      topTokens: { shape: [given.width, 1], dtype: 'u32', data: given.top },
      candidates: scalar(given.candidates),
      length: scalar(given.length),
      count: scalar(given.kept),
    },
    body({ tokens, topTokens, candidates, length, count }) {
      const round = { width: given.width, history, loop, length, decoder: { branching: true } } as unknown as Round;
      const tree = { tokens, candidates } as unknown as TokenTree;
      const target = { topTokens } as unknown as TargetOutputs;
      drafter.absorb(round, { tree, target, accepted: { count } as unknown as Accepted }, state);
    },
    states: new Map<State, ArrayLike<number>>([
      [history, given.tokens],
      [state.window, windowOf(given.window, sizes)],
      [state.pool, poolOf({}, state)],
    ]),
    tolerance: 0,
  });
  return { window: Array.from(states.get(state.window)!), pool: Array.from(states.get(state.pool)!), state };
}

describe('lookahead', () => {
  const full = [
    [1, 2],
    [3, 4, 5],
    [0, 6, 1],
  ];

  it('verifies the newest n-grams as a trie, and lets the window pass under its columns', async () => {
    const pool = {
      2: [
        [3, 3, 1],
        [4, 5, 6],
        [4, 5, 1],
      ],
    };
    const round = { width: 16, tokens: [5, 1, 2], window: full, pool };
    const { guesses, window } = await propose({ window: 3, guesses: 3 }, round);
    expect(guesses).toEqual([[4], [4, 5], [4, 5, 1], [4, 5, 6], [3], [3, 3], [3, 3, 1]]);
    expect(window).toEqual([[1], [1, 2], [3], [1, 4], [1, 2, 5], [3, 0], [1, 4, 6], [1, 2, 5, 1]]);
    const narrow = await propose({ window: 3, guesses: 3 }, { ...round, width: 12 });
    expect(narrow.guesses).toEqual([[4], [4, 5], [4, 5, 1]]);
    expect(narrow.window).toHaveLength(8);
    const short = await propose({ window: 3, guesses: 3, verified: 2 }, round);
    expect(short.guesses).toEqual([[4], [4, 5], [3], [3, 3]]);
  });

  it('looks ahead in rounds with room only, and never where the target verifies chains only', async () => {
    const pool = {
      2: [
        [3, 3, 1],
        [4, 5, 6],
      ],
    };
    const round = { width: 8, tokens: [5, 1, 2], window: full, pool };
    const narrow = await propose({ window: 3 }, round);
    expect(narrow).toMatchObject({ guesses: [[4], [4, 5], [4, 5, 6], [3], [3, 3], [3, 3, 1]], window: [] });
    const chain = await propose({ window: 3 }, { ...round, width: 32, branching: false });
    expect(chain).toMatchObject({ guesses: [[4], [4, 5], [4, 5, 6]], window: [] });
  });

  it('begins a window with tokens of the text, and guesses when it is full', async () => {
    const pool = { 2: [[3, 3, 1]] };
    const round = { width: 32, tokens: [5, 1, 2], pool };
    const { guesses, window, state } = await propose({ window: 3 }, { ...round, window: [] });
    expect(guesses).toEqual([]);
    expect(window.map(({ length }) => length)).toEqual([1, 2, 3, 4]);
    expect(window.at(-1)!.every((token) => [5, 1, 2].includes(token))).toBe(true);
    expect(state.at(-1)).toBe(1);
    const later = await propose(
      { window: 3 },
      {
        ...round,
        window: [
          [1, 2, 3],
          [4, 5, 6, 0],
        ],
      },
    );
    expect(later.guesses).toEqual([]);
    expect(later.window).toEqual([[1], [1, 2], [1, 2, 3], [4], [1, 5], [1, 2, 6], [1, 2, 3, 0]]);
  });

  it('fills the window, then moves it and keeps the n-grams of its columns', async () => {
    const tokens = Array.from({ length: capacity }, () => 0).with(5, 6);
    const round = { width: 16, tokens, candidates: 2, kept: 1, length: 5 };
    const top = Array.from({ length: 16 }, (_, row) => (row < 2 ? 6 : (row - 2) % 7));
    const sizes = { window: 3, fromText: false };
    const first = await absorb(sizes, { ...round, top, window: [[1, 2, 3, 4]] });
    expect(first.window).toEqual(
      windowOf(
        [
          [2, 3, 4],
          [0, 1, 2, 3],
        ],
        sizes,
      ),
    );
    const second = await absorb(sizes, {
      ...round,
      top,
      window: [
        [2, 3, 4],
        [0, 1, 2, 3],
      ],
    });
    expect(second.window).toEqual(
      windowOf(
        [
          [3, 4],
          [1, 2, 3],
          [4, 5, 6],
        ],
        sizes,
      ),
    );
    expect(second.pool.every((word) => word === 0)).toBe(true);
    const third = await absorb(sizes, { ...round, top, window: full });
    expect(third.window).toEqual(
      windowOf(
        [
          [4, 5],
          [0, 6, 1],
          [5, 6, 0],
        ],
        sizes,
      ),
    );
    expect(third.pool).toEqual(poolOf({ 6: [[3, 0, 5]], 1: [[4, 6, 6]], 2: [[5, 1, 0]] }, third.state));
  });

  it('leaves the window where it is when the tree was not its own', async () => {
    const round = { width: 16, tokens: Array.from({ length: capacity }, () => 6), candidates: 2, kept: 1, length: 5 };
    const top = Array.from({ length: 16 }, () => 1);
    const sizes = { window: 3, fromText: false };
    const { window, pool } = await absorb(sizes, { ...round, top, window: full, strange: true });
    expect(window).toEqual(windowOf(full, sizes));
    expect(pool.every((word) => word === 0)).toBe(true);
  });

  it('keeps n-grams of kept tokens', async () => {
    const tokens = Array.from({ length: capacity }, (_, i) => (i * 3) % 7);
    const { pool, state } = await absorb(
      { window: 3, ngram: 3 },
      { width: 4, tokens, top: [0, 0, 0, 0], candidates: 1, window: [], kept: 2, length: 4 },
    );
    expect(pool).toEqual(poolOf({ [tokens[3]!]: [tokens.slice(4, 6)], [tokens[4]!]: [tokens.slice(5, 7)] }, state));
  });

  it('agrees with its reference at random', async () => {
    for (const sizes of [
      { window: 1, ngram: 3 },
      { window: 5, ngram: 5, guesses: 2 },
      { window: 2, ngram: 7, guesses: 3 },
    ]) {
      const all = sizesOf(sizes);
      for (let filled = 1; filled < all.ngram; filled++) {
        const rest = randomTokens(windowTokens(all, filled));
        const window = Array.from({ length: filled }, (_, level) => {
          return rest.splice(0, all.window + all.ngram - 1 - filled - (level === 0 ? 1 : 0));
        });
        const ngrams = Array.from({ length: all.guesses }, () => randomTokens(all.ngram - 1).map((token) => token % 2));
        const tokens = randomTokens(9);
        await propose(sizes, { width: 50, tokens, window, pool: { [tokens.at(-1)!]: ngrams } });
        const top = randomTokens(capacity);
        const kept = 1 + random.integer(all.ngram);
        const round = { width: capacity, tokens: randomTokens(capacity), candidates: 3, length: 0 };
        await absorb(sizes, { ...round, window, top, kept });
      }
    }
  });

  it('puts the n-grams of a prompt into the pool, a chunk at a time', async () => {
    const prompt = [1, 2, 3, 1, 2, 4, 1, 2, 3, 5];
    const { drafter, state } = drafterOf({ ngram: 3, guesses: 2 });
    const words = new Uint32Array(loopStateWords);
    words[loopWords.prefillEnd] = prompt.length - 1;
    const { states } = await hold(device, {
      inputs: { first: scalar(0), second: scalar(4), four: scalar(4), five: scalar(5) },
      body({ first, second, four, five }, graph) {
        const inputs = graph.constant(new Uint32Array(6));
        for (const [length, count] of [
          [first, four],
          [second, five],
        ] as const) {
          const target = { rows: { inputs, length, count } } as unknown as TargetOutputs;
          drafter.prefill(target, state, { history, loop });
        }
      },
      states: new Map<State, ArrayLike<number>>([
        [history, [...prompt, ...Array.from({ length: capacity - prompt.length }, () => 6)]],
        [loop, words],
        [state.pool, poolOf({}, state)],
      ]),
      tolerance: 0,
    });
    const pool = {
      1: [
        [2, 4],
        [2, 3],
      ],
      2: [
        [4, 1],
        [3, 5],
      ],
      3: [[1, 2]],
      4: [[1, 2]],
    };
    expect(Array.from(states.get(state.pool)!)).toEqual(poolOf(pool, state));
  });

  it('keeps the n-grams seen last, in order', async () => {
    for (const [entries, guesses] of [
      [7, 1],
      [200, 2],
      [130, 5],
    ] as const) {
      const { state } = drafterOf({ ngram: 3, guesses });
      const ngrams = Array.from({ length: entries }, () => [
        random.integer(vocabSize + 1),
        random.integer(3),
        random.integer(2),
      ]);
      const data = ngrams.flatMap(([key, ...rest]) => [key === vocabSize ? noToken : key!, ...rest]);
      const { states } = await hold(device, {
        inputs: { entries: { shape: [entries, 3], dtype: 'u32', data } },
        body: ({ entries }) => insertNGrams(state.pool, entries, { ngram: 3, guesses }),
        states: new Map<State, ArrayLike<number>>([[state.pool, poolOf({}, state)]]),
        tolerance: 0,
      });
      const last = ngrams.findLast(([key]) => key! < vocabSize)!;
      const begin = last[0]! * state.pool.shape[1]!;
      const pool = Array.from(states.get(state.pool)!);
      const end = begin + 1 + 2 * pool[begin]!;
      expect(pool.slice(end - 2, end)).toEqual(last.slice(1));
    }
  });

  it('refuses sizes that make no sense', () => {
    for (const sizes of [
      { window: 0 },
      { ngram: 2 },
      { guesses: 0 },
      { window: 1.5 },
      { verified: 4 },
      { verified: 0 },
    ]) {
      expect(() => lookahead({ vocabSize, ...sizes })).toThrow(ArgumentError);
    }
    expect(() => lookahead({ vocabSize: 0 })).toThrow(ArgumentError);
  });
});
