import type { Round } from '@forerun/contracts';
import { loopStateWords, loopWords } from '@forerun/contracts';
import { ArgumentError, State } from '@forerun/tensor';
import { hold, randomSource, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { expectedChain, expectedTree, pathsOf } from '../continuations/expected-tree.ts';
import { suffix, type SuffixOptions } from './suffix.ts';

const device = await testDevice();
const loop = new State({ name: 'loop', shape: [loopStateWords], dtype: 'u32' });

async function propose(tokens: readonly number[], { width, ...options }: SuffixOptions & { width: number }) {
  const history = new State({ name: 'history', shape: [2 * tokens.length], dtype: 'u32' });
  const words = new Uint32Array(loopStateWords);
  words[loopWords.length] = tokens.length - 1;
  const drafter = suffix(options);
  const { outputs } = await hold(device, {
    inputs: { anchor: { shape: [1], dtype: 'u32', data: [tokens.at(-1)!] } },
    body({ anchor }, graph) {
      const tree = drafter.propose({ width, history, loop, anchor } as unknown as Round);
      const chain = Uint32Array.from({ length: width }, (_, row) => Math.max(row, 1) - 1);
      // Only what follows from the set of places is compared: their order before they are sorted is up to the device.
      return { tokens: tree.tokens, parents: tree.parents ?? graph.constant(chain), count: tree.count };
    },
    // Stale entries behind the end that would match must not be seen.
    states: new Map<State, ArrayLike<number>>([
      [history, [...tokens, ...tokens]],
      [loop, words],
    ]),
    tolerance: 0,
  });
  expect(outputs.tokens![0]).toBe(tokens.at(-1));
  return pathsOf(outputs.tokens!, outputs.parents!, outputs.count![0]!);
}

/** What followed each earlier place that agrees longest with the end. */
function follow(tokens: readonly number[], { longestMatch = 32, shortestMatch = 1, longest = 32 }: SuffixOptions) {
  for (let size = Math.min(longestMatch, tokens.length - 1); size >= shortestMatch; size--) {
    const ending = tokens.slice(-size);
    const begins = [...tokens.keys()].filter(
      (begin) => begin + size < tokens.length && ending.every((token, i) => tokens[begin + i] === token),
    );
    const found = begins.map((begin) => tokens.slice(begin + size, begin + size + longest));
    if (found.length > 0) return { size, found };
  }
  return { size: 0, found: [] };
}

describe('suffix', () => {
  const tokens = [1, 2, 3, 4, 5, 1, 2, 3, 4, 6, 1, 2, 3, 7, 9, 1, 2, 3];

  it('proposes what followed most often, as far as the match is long', async () => {
    expect(await propose(tokens, { width: 8 })).toEqual([[4], [7], [4, 5], [4, 6], [7, 9], [4, 5, 1], [4, 6, 1]]);
    expect(await propose(tokens, { width: 16, factor: 0, offset: 1 })).toEqual([[4], [7]]);
    expect(await propose(tokens, { width: 8, minProbability: 0.5 })).toEqual([[4]]);
    expect(await propose(tokens, { width: 8, form: 'chain' })).toEqual([[4], [4, 5], [4, 5, 1]]);
    expect(await propose(tokens, { width: 3, form: 'chain', factor: 4 })).toEqual([[4], [4, 5]]);
  });

  it('proposes nothing where nothing matches long enough', async () => {
    expect(await propose([1, 2, 3, 4], { width: 4 })).toEqual([]);
    expect(await propose([5], { width: 4 })).toEqual([]);
    expect(await propose([1, 2, 9, 2], { width: 4, shortestMatch: 2 })).toEqual([]);
  });

  it('does not look behind the end of the history', async () => {
    expect(await propose([4, 4], { width: 8, factor: 9 })).toEqual([[4]]);
    expect(await propose([5, 6, 5], { width: 8, factor: 9 })).toEqual([[6], [6, 5]]);
  });

  it('agrees with a plain count on random histories', async () => {
    const random = randomSource(10);
    for (const [symbols, length] of [
      [2, 63],
      [3, 300],
      [40, 1000],
    ] as const) {
      const text = Array.from({ length }, () => random.integer(symbols));
      for (const width of [2, 64]) {
        const options = { longestMatch: 2 + random.integer(6), longest: 1 + random.integer(20), minProbability: 0.2 };
        const { size, found } = follow(text, options);
        const most = Math.min(2 * size + 1, options.longest);
        const allowed = found.map((one) => one.slice(0, most));
        const nodes = expectedTree(allowed, Infinity).filter(({ seen }) => seen >= 0.2 * found.length);
        expect(await propose(text, { ...options, factor: 2, offset: 1, width })).toEqual(
          nodes.slice(0, width - 1).map(({ path }) => path),
        );
        const chain = await propose(text, { ...options, factor: 2, offset: 1, form: 'chain', width });
        expect(chain.at(-1) ?? []).toEqual(expectedChain(found, { most: Math.min(most, width - 1), share: 0.2 }));
      }
    }
  });

  it('counts the latest places where there are too many', async () => {
    const text = [
      ...Array.from({ length: 3000 }, () => [1, 2]).flat(),
      ...Array.from({ length: 600 }, () => [1, 3]).flat(),
      1,
    ];
    // 600 of 3600 places went on with 3, and 600 of the latest 1536.
    const options = { width: 3, longestMatch: 1, longest: 1 };
    expect(await propose(text, { ...options, minProbability: 0.38 })).toEqual([[2], [3]]);
    expect(await propose(text, { ...options, minProbability: 0.4 })).toEqual([[2]]);
  });

  it('refuses options that make no sense', () => {
    for (const options of [
      { shortestMatch: 0 },
      { longestMatch: 0 },
      { longestMatch: 256 },
      { longest: 0 },
      { factor: -1 },
    ]) {
      expect(() => suffix(options)).toThrow(ArgumentError);
    }
  });
});
