import type { Round } from '@forerun/contracts';
import { loopStateWords, loopWords } from '@forerun/contracts';
import { ArgumentError, State } from '@forerun/tensor';
import { hold, randomSource, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { expectedChain, expectedTree, pathsOf } from '../continuations/expected-tree.ts';
import { buildDatastore } from './datastore.ts';
import { retrieval, type RetrievalOptions } from './retrieval.ts';

const device = await testDevice();
const loop = new State({ name: 'loop', shape: [loopStateWords], dtype: 'u32' });

type Documents = readonly (readonly number[])[];

async function propose(
  documents: Documents,
  tokens: readonly number[],
  { width, ...options }: RetrievalOptions & { width: number },
) {
  const history = new State({ name: 'history', shape: [tokens.length + 5], dtype: 'u32' });
  const words = new Uint32Array(loopStateWords);
  words[loopWords.length] = tokens.length - 1;
  const drafter = retrieval(buildDatastore(documents), options);
  const { outputs } = await hold(device, {
    inputs: { anchor: { shape: [1], dtype: 'u32', data: [tokens.at(-1)!] } },
    body({ anchor }, graph) {
      const tree = drafter.propose({ width, history, loop, anchor } as unknown as Round);
      const parents =
        tree.parents ?? graph.constant(Uint32Array.from({ length: width }, (_, row) => Math.max(row, 1) - 1));
      return { tokens: tree.tokens, parents, count: tree.count, picked: tree.picked };
    },
    states: new Map<State, ArrayLike<number>>([
      [history, [...tokens, 1, 2, 3, 4, 5]],
      [loop, words],
    ]),
    tolerance: 0,
  });
  const count = outputs.count![0]!;
  expect(outputs.tokens![0]).toBe(tokens.at(-1));
  return {
    paths: pathsOf(outputs.tokens!, outputs.parents!, count),
    seen: Array.from({ length: count - 1 }, (_, row) => outputs.picked![3 * row + 5]!),
    depths: Array.from({ length: count - 1 }, (_, row) => outputs.picked![3 * row + 4]!),
  };
}

/** What follows the longest end of the history, at every place where anything follows it anywhere. */
function follow(
  documents: Documents,
  tokens: readonly number[],
  { longestMatch = 16, shortestMatch = 2, longest = 10 }: RetrievalOptions,
) {
  for (let size = Math.min(longestMatch, tokens.length); size >= shortestMatch; size--) {
    const suffix = tokens.slice(-size);
    const found = documents.flatMap((text) =>
      [...text.keys()]
        .filter((at) => at + size <= text.length && suffix.every((token, i) => text[at + i] === token))
        .map((at) => text.slice(at + size, at + size + longest)),
    );
    if (found.some(({ length }) => length > 0)) return { size, found };
  }
  return { size: 0, found: [] };
}

describe('retrieval', () => {
  const documents = [
    [1, 2, 3, 4, 5, 1, 2, 3, 7],
    [9, 1, 2, 3, 4, 6],
  ];

  it('proposes the most frequent continuations of the longest match', async () => {
    const { paths, seen, depths } = await propose(documents, [8, 1, 2, 3], { width: 5 });
    expect(paths).toEqual([[4], [7], [4, 5], [4, 6]]);
    expect(seen).toEqual([2, 1, 1, 1]);
    expect(depths).toEqual([1, 1, 2, 2]);
  });

  it('does not go on into the next document, and passes over ends that nothing follows', async () => {
    expect((await propose(documents, [5, 1, 2, 3, 7], { width: 4 })).paths).toEqual([]);
    expect((await propose(documents, [5, 1, 2, 3, 7], { width: 4, shortestMatch: 1 })).paths).toEqual([]);
    expect(
      (
        await propose(
          [
            [3, 7],
            [7, 5],
          ],
          [3, 7],
          { width: 4, shortestMatch: 1 },
        )
      ).paths,
    ).toEqual([[5]]);
    expect((await propose(documents, [8, 8], { width: 4 })).paths).toEqual([]);
    expect((await propose(documents, [1], { width: 4 })).paths).toEqual([]);
  });

  it('makes chains of the most frequent next tokens, as long as match and share allow', async () => {
    const chain = { form: 'chain', width: 8, longest: 20 } as const;
    expect((await propose(documents, [1, 2, 3], chain)).paths.at(-1)).toEqual([4, 5, 1, 2, 3, 7]);
    expect((await propose(documents, [1, 2, 3], { ...chain, factor: 1 })).paths.at(-1)).toEqual([4, 5, 1]);
    expect((await propose(documents, [1, 2, 3], { ...chain, minProbability: 0.5 })).paths.at(-1)).toEqual([4]);
    expect((await propose(documents, [1, 2, 3], { ...chain, minProbability: 0.7 })).paths).toEqual([]);
  });

  it('agrees with a plain count on random text at every width', async () => {
    const random = randomSource(8);
    for (const [symbols, length] of [
      [2, 40],
      [3, 300],
      [30, 1000],
    ] as const) {
      const text = [length, 7, 60].map((size) => Array.from({ length: size }, () => random.integer(symbols)));
      for (const width of [2, 100]) {
        const options = { longestMatch: 5, shortestMatch: 1, longest: 1 + random.integer(12) };
        const at = random.integer(length - 6);
        const tokens = [symbols + 1, ...text[0]!.slice(at, at + 3 + random.integer(3))];
        const { size, found } = follow(text, tokens, options);
        const tree = await propose(text, tokens, { ...options, width });
        const expected = expectedTree(found, width - 1);
        expect(tree.paths).toEqual(expected.map(({ path }) => path));
        expect(tree.seen).toEqual(expected.map(({ seen }) => seen));
        const limits = { factor: 2, offset: 1, minProbability: 0.2 };
        const chain = await propose(text, tokens, { ...options, ...limits, form: 'chain', width });
        const most = Math.min(2 * size + 1, options.longest, width - 1);
        expect(chain.paths.at(-1) ?? []).toEqual(expectedChain(found, { most, share: 0.2 }));
      }
    }
  });

  it('takes an even selection of too many places', async () => {
    const text = [Array.from({ length: 400 }, (_, i) => (i % 2 === 0 ? 5 : 10 + Math.floor(i / 40)))];
    const { paths, seen } = await propose(text, [5], { width: 4, longest: 1, shortestMatch: 1, places: 20 });
    expect(paths).toEqual([[10], [11], [12]]);
    expect(seen).toEqual([2, 2, 2]);
  });

  it('refuses options that make no sense', () => {
    const datastore = buildDatastore([1, 2, 3]);
    for (const options of [
      { shortestMatch: 0 },
      { longestMatch: 1 },
      { longestMatch: 66 },
      { places: 0 },
      { places: 5000 },
      { longest: 0 },
      { longest: 65 },
      { factor: -1 },
      { minProbability: 2 },
      { form: 'bush' as 'tree' },
    ]) {
      expect(() => retrieval(datastore, options)).toThrow(ArgumentError);
    }
  });
});
