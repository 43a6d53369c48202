import type { Round } from '@forerun/contracts';
import { loopStateWords, loopWords } from '@forerun/contracts';
import { ArgumentError, State } from '@forerun/tensor';
import { hold, randomSource, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import type { NGramOptions } from './n-gram.ts';
import { nGram } from './n-gram.ts';

const device = await testDevice();
const loop = new State({ name: 'loop', shape: [loopStateWords], dtype: 'u32' });

async function propose(tokens: readonly number[], options: NGramOptions & { width: number; capacity?: number }) {
  const { width, capacity = tokens.length, ...lookup } = options;
  const history = new State({ name: 'history', shape: [capacity], dtype: 'u32' });
  const drafter = nGram(lookup);
  const words = new Uint32Array(loopStateWords);
  words[loopWords.length] = tokens.length - 1;
  // Stale entries behind the end that would match must not be seen.
  const entries = [...tokens, ...tokens, ...tokens]
    .concat(Array.from({ length: capacity }, () => tokens.at(-1)!))
    .slice(0, capacity);
  const { outputs } = await hold(device, {
    inputs: { length: { shape: [1], dtype: 'u32', data: [tokens.length - 1] } },
    body({ length }) {
      const round = { width, history, loop, length } as unknown as Round;
      const { tokens: proposed, count } = drafter.propose(round, drafter.state(capacity, { rollbackTokens: 0 }));
      return { proposed, count };
    },
    states: new Map<State, ArrayLike<number>>([
      [history, entries],
      [loop, words],
    ]),
    tolerance: 0,
  });
  expect(outputs.proposed![0]).toBe(tokens.at(-1));
  return Array.from(outputs.proposed!.subarray(1, outputs.count![0]));
}

describe('nGram', () => {
  it('continues the longest match, the latest or the earliest of equal ones', async () => {
    const tokens = [7, 1, 2, 3, 9, 2, 4, 1, 2, 5, 1, 2];
    expect(await propose(tokens, { width: 4 })).toEqual([5, 1, 2]);
    expect(await propose(tokens, { width: 4, prefer: 'earliest' })).toEqual([3, 9, 2]);
    expect(await propose(tokens, { width: 3, longest: 1 })).toEqual([5, 1]);
    expect(await propose([7, 1, 2, 3, 1, 2, 9, 7, 1, 2], { width: 2 })).toEqual([3]);
  });

  it('prefers what agrees furthest back where it is asked to', async () => {
    const tokens = [8, 1, 2, 3, 9, 2, 4, 9, 1, 2, 5, 8, 1, 2];
    expect(await propose(tokens, { width: 3, longest: 2 })).toEqual([5, 8]);
    expect(await propose(tokens, { width: 3, longest: 2, prefer: 'longest' })).toEqual([3, 9]);
    expect(await propose([5, 1, 6, 5, 1, 7, 5, 1], { width: 2, longest: 1, prefer: 'longest' })).toEqual([7]);
  });

  it('stops at the end of the history and does not look behind it', async () => {
    expect(await propose([4, 4], { width: 8, capacity: 100 })).toEqual([4]);
    expect(await propose([5, 6, 5], { width: 8, capacity: 100 })).toEqual([6, 5]);
    expect(await propose([7], { width: 4, capacity: 100 })).toEqual([]);
  });

  it('proposes nothing where nothing matches long enough', async () => {
    expect(await propose([1, 2, 3, 4], { width: 4 })).toEqual([]);
    expect(await propose([1, 2, 9, 2], { width: 4, shortest: 2 })).toEqual([]);
  });

  it('takes continuations from a part of the history', async () => {
    const tokens = [7, 1, 2, 3, 9, 4, 1, 2, 5, 6, 1, 2];
    expect(await propose(tokens, { width: 5, before: 6 })).toEqual([3, 9, 4]);
    expect(await propose(tokens, { width: 5, before: 3 })).toEqual([]);
    expect(await propose(tokens, { width: 3, before: 100 })).toEqual([5, 6]);
  });

  it('ends before tokens that are not to be proposed, and passes over matches that would begin with one', async () => {
    const tokens = [1, 2, 3, 4, 1, 2, 5, 6, 8, 1, 2];
    expect(await propose(tokens, { width: 5, endTokens: [8, 4] })).toEqual([5, 6]);
    expect(await propose(tokens, { width: 5, endTokens: [5] })).toEqual([]);
    expect(await propose(tokens, { width: 5, forbidden: [5] })).toEqual([3, 4, 1, 2]);
    expect(await propose(tokens, { width: 5, forbidden: [8] })).toEqual([5, 6]);
    expect(await propose(tokens, { width: 5, forbidden: [5, 3] })).toEqual([]);
    expect(await propose(tokens, { width: 5, longest: 2, noRepeat: 3 })).toEqual([]);
    expect(await propose([2, 3, 1, 2, 3, 4, 5, 2], { width: 5, longest: 1, noRepeat: 3 })).toEqual([3]);
    expect(await propose([2, 3, 4, 2, 3, 5, 2], { width: 5, longest: 1, noRepeat: 3 })).toEqual([3]);
  });

  it('agrees with a plain search under limits on random histories', async () => {
    const random = randomSource(4);
    for (const length of [5, 40, 300]) {
      const tokens = Array.from({ length }, () => random.integer(6));
      await propose(tokens, { width: 9, noRepeat: 2 + random.integer(3), endTokens: [random.integer(6)] });
      await propose(tokens, { width: 9, noRepeat: 8, forbidden: [random.integer(6)], before: random.integer(length) });
    }
  });

  it('agrees with a plain search on random histories and every width', async () => {
    const random = randomSource(9);
    for (const length of [1, 63, 100, 1000]) {
      const tokens = Array.from({ length }, () => random.integer(4));
      for (const width of [1, 2, 33, 64]) {
        const shortest = 1 + random.integer(3);
        await propose(tokens, {
          width,
          shortest,
          longest: shortest + random.integer(5),
          prefer: random.integer(2) === 0 ? 'latest' : 'longest',
          capacity: length + 10,
        });
        await propose(tokens, {
          width,
          shortest,
          longest: shortest + random.integer(5),
          prefer: 'earliest',
          capacity: length,
        });
      }
    }
  });

  it('refuses lengths that make no sense', () => {
    for (const options of [
      { shortest: 0 },
      { longest: 0 },
      { shortest: 3, longest: 2 },
      { longest: 1.5 },
      { longest: 256 },
      { before: -1 },
      { noRepeat: 0.5 },
      { forbidden: [-1] },
      { endTokens: Array.from({ length: 65 }, (_, token) => token) },
    ]) {
      expect(() => nGram(options)).toThrow(ArgumentError);
    }
  });
});
