import { noToken, ShapeError, trace } from '@forerun/tensor';
import { hold, randomSource, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { walk } from './walk.ts';

const device = await testDevice();

interface Case {
  readonly tokens: readonly number[];
  readonly targets: readonly number[];
  readonly parents?: readonly number[];
  readonly count?: number;
}

async function run({ tokens, targets, parents, count = tokens.length }: Case) {
  const column = (data: readonly number[]) => ({ shape: [data.length], dtype: 'u32', data }) as const;
  const { outputs } = await hold(device, {
    inputs: {
      tokens: column(tokens),
      targets: column(targets),
      parents: column(parents ?? tokens),
      count: column([count]),
    },
    body: ({ tokens, targets, parents: rows, count }) => ({
      ...walk({ tokens, count, chain: !parents, ...(parents ? { parents: rows } : {}) }, targets),
    }),
    tolerance: 0,
  });
  const used = outputs.count![0]!;
  return { path: Array.from(outputs.path!.subarray(0, used)), next: outputs.next![0]! };
}

describe('walk', () => {
  it('keeps a chain up to the first difference', async () => {
    expect(await run({ tokens: [1, 2, 3, 4], targets: [2, 3, 9, 5] })).toEqual({ path: [0, 1, 2], next: 9 });
    expect(await run({ tokens: [1, 2, 3, 4], targets: [2, 3, 4, 5] })).toEqual({ path: [0, 1, 2, 3], next: 5 });
    expect(await run({ tokens: [1, 2, 3, 4], targets: [7, 3, 4, 5] })).toEqual({ path: [0], next: 7 });
    expect(await run({ tokens: [1, 2, 3, 4], targets: [2, 3, 4, 5], count: 2 })).toEqual({ path: [0, 1], next: 3 });
    expect(await run({ tokens: [1], targets: [7] })).toEqual({ path: [0], next: 7 });
  });

  it('takes the lowest of equal siblings and follows only its own children', async () => {
    const tokens = [1, 5, 5, 6, 6];
    expect(await run({ tokens, parents: [0, 0, 0, 2, 1], targets: [5, 6, 6, 0, 8] })).toEqual({
      path: [0, 1, 4],
      next: 8,
    });
    expect(await run({ tokens, parents: [0, 0, 0, 2, 2], targets: [5, 6, 6, 0, 8] })).toEqual({
      path: [0, 1],
      next: 6,
    });
  });

  it('never matches a row that could not be chosen', async () => {
    expect(await run({ tokens: [1, noToken], targets: [noToken, 3] })).toEqual({ path: [0], next: noToken });
    expect(await run({ tokens: [1, noToken], parents: [0, 0], targets: [noToken, 3] })).toEqual({
      path: [0],
      next: noToken,
    });
  });

  it('agrees with a plain walk on random trees of every width', async () => {
    const random = randomSource(4);
    for (const width of [1, 2, 3, 7, 8, 16, 33, 64]) {
      for (let trial = 0; trial < 4; trial++) {
        const tokens = Array.from({ length: width }, () => random.integer(3));
        const targets = Array.from({ length: width }, () => random.integer(3));
        const parents = tokens.map((_, row) => (row === 0 ? 0 : random.integer(row)));
        const count = 1 + random.integer(width);
        await run({ tokens, targets, parents, count });
        await run({ tokens, targets, count });
      }
    }
  });

  it('refuses trees that do not fit', () => {
    trace((graph) => {
      const tokens = graph.input('tokens', [3], 'u32');
      const count = graph.input('count', [1], 'u32');
      expect(() => walk({ tokens, count, chain: true }, graph.input('targets', [4], 'u32'))).toThrow(ShapeError);
      expect(() => walk({ tokens, count, chain: false }, tokens)).toThrow(ShapeError);
      expect(() => walk({ tokens, count: tokens, chain: true }, tokens)).toThrow(ShapeError);
    });
  });
});
