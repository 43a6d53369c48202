import { describe, expect, it } from 'vitest';
import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { hold, holdRowsInvariant, randomSource, testDevice } from '../../harness/index.ts';
import { topK } from './top-k.ts';

const device = await testDevice();

describe('topK', () => {
  it.each([
    [1, 1],
    [63, 63],
    [100, 7],
    [128, 128],
    [1000, 40],
    [8193, 128],
    [20_000, 5],
  ])('sorts out of rows of %d the best %d', async (width, k) => {
    await hold(device, { inputs: { x: { shape: [2, 2, width] } }, body: ({ x }) => ({ ...topK(x, k) }), tolerance: 0 });
  });

  it('takes a large vocabulary', async () => {
    await hold(device, { inputs: { x: { shape: [300_000] } }, body: ({ x }) => ({ ...topK(x, 10) }), tolerance: 0 });
  });

  it.each([500, 9000])('lets lower indices come first among equals of a row of %d', async (width) => {
    const random = randomSource(width);
    const data = Array.from({ length: 3 * width }, (_, i) => (i < width ? 1 : random.integer(5) - 2));
    const { outputs } = await hold(device, {
      inputs: { x: { shape: [3, width], data } },
      body: ({ x }) => ({ ...topK(x, 100) }),
      tolerance: 0,
    });
    expect([...outputs.indices!.subarray(0, 100)]).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  it('orders zeros as equal, infinities at the ends, numbers closer than a digit, and NaN first', async () => {
    const data = [-0, 0, -Infinity, Infinity, 1e-40, -1e-40, 1, 1 + 2 ** -23, NaN, -1, -1 - 2 ** -23, 3e38];
    const { outputs } = await hold(device, {
      inputs: { x: { shape: [1, 12], data } },
      body: ({ x }) => ({ ...topK(x, 12) }),
      tolerance: Infinity,
    });
    expect([...outputs.indices!]).toEqual([8, 3, 11, 7, 6, 4, 0, 1, 5, 9, 10, 2]);
    expect([...outputs.values!].map((value) => value === 0)[6]).toBe(true);
    expect(outputs.values![0]).toBeNaN();
  });

  it('gives a row the same result in any company', async () => {
    await holdRowsInvariant(device, {
      rows: { x: { shape: [257] } },
      body: ({ x }) => ({ ...topK(x, 8) }),
      tolerance: 0,
    });
  });

  it.each([
    ['a scalar', ShapeError, { shape: [], dtype: 'f32', k: 1 }],
    ['integers', DTypeError, { shape: [2, 4], dtype: 'u32', k: 1 }],
    ['a k of 0', ArgumentError, { shape: [2, 4], dtype: 'f32', k: 0 }],
    ['a k past the row', ArgumentError, { shape: [2, 4], dtype: 'f32', k: 5 }],
    ['a k past 128', ArgumentError, { shape: [2, 400], dtype: 'f32', k: 129 }],
    ['a fraction', ArgumentError, { shape: [2, 4], dtype: 'f32', k: 1.5 }],
  ] as const)('refuses %s', (_, error, { shape, dtype, k }) => {
    expect(() => trace((graph) => void topK(graph.input('x', shape, dtype), k))).toThrow(error);
  });
});
