import { describe, expect, it } from 'vitest';
import { DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { hold, holdRowsInvariant, testDevice } from '../../harness/index.ts';
import { reduce } from './reduce.ts';

const device = await testDevice();

describe('reduce', () => {
  for (const width of [1, 32, 63, 100, 1000, 4097]) {
    it(`reduces rows of ${width} in every way`, async () => {
      await hold(device, {
        inputs: { x: { shape: [3, 5, width] } },
        body: ({ x }) => ({
          sum: reduce(x.abs(), 'sum'),
          mean: reduce(x.add(1), 'mean', { keepDims: true }),
          max: reduce(x, 'max'),
          min: reduce(x, 'min'),
        }),
        tolerance: 3e-6,
      });
      // Rounding adds up over thousands of factors.
      await hold(device, {
        inputs: { x: { shape: [15, width] } },
        body: ({ x }) => ({ prod: reduce(x.mul(0.01).add(1), 'prod') }),
        tolerance: 2e-5,
      });
    });
  }

  it('wraps integers', async () => {
    const data = Array.from({ length: 120 }, (_, i) => (i * 2_654_435_761) % 2 ** 32);
    await hold(device, {
      inputs: {
        x: { shape: [3, 40], dtype: 'u32', data },
        y: { shape: [3, 40], dtype: 'i32', data: data.map((v) => v | 0) },
      },
      body: ({ x, y }) => ({
        sum: reduce(x, 'sum'),
        prod: reduce(x, 'prod'),
        max: reduce(x, 'max'),
        signedSum: reduce(y, 'sum'),
        signedProd: reduce(y, 'prod'),
        signedMin: reduce(y, 'min'),
      }),
      tolerance: 0,
    });
  });

  it('computes an elementwise producer inside, broadcasts included', async () => {
    const body = ({ x, row }: Record<'x' | 'row', Parameters<typeof reduce>[0]>) => ({
      y: reduce(x.sub(row).mul(x.sub(row)), 'sum'),
      z: reduce(x.mul(row).silu(), 'max'),
    });
    const inputs = { x: { shape: [7, 100] }, row: { shape: [100] } };
    const fused = await hold(device, { inputs, body, tolerance: 2e-6 });
    const plain = await hold(device, { inputs, body, tolerance: 2e-6, fusion: false });
    expect(plain.dispatches).toBe(7);
    expect(fused.dispatches).toBeLessThan(plain.dispatches - 1);
  });

  it('leaves a producer that something else reads, or that would be repeated', async () => {
    await hold(device, {
      inputs: { x: { shape: [4, 50] } },
      body: ({ x }) => {
        const shared = x.mul(2);
        return { y: reduce(shared, 'sum'), shared };
      },
      tolerance: 2e-6,
    });
  });

  it('keeps a NaN, and infinities', async () => {
    const { outputs } = await hold(device, {
      inputs: { x: { shape: [3, 3], data: [1, NaN, 3, -Infinity, -Infinity, -Infinity, 5, Infinity, 6] } },
      body: ({ x }) => ({ max: reduce(x, 'max'), min: reduce(x, 'min') }),
      tolerance: Infinity,
    });
    expect([...outputs.max!]).toEqual([NaN, -Infinity, Infinity]);
    expect([...outputs.min!]).toEqual([NaN, -Infinity, 5]);
  });

  it('gives a row the same bits in any company', async () => {
    await holdRowsInvariant(device, {
      rows: { x: { shape: [300] }, y: { shape: [300] } },
      body: ({ x, y }) => ({ sum: reduce(x.mul(y), 'sum'), mean: reduce(x, 'mean') }),
      tolerance: 1e-5,
    });
  });

  it.each([
    ['a scalar', ShapeError, [], 'f32'],
    ['an empty axis', ShapeError, [3, 0], 'f32'],
    ['the mean of integers', DTypeError, [2, 4], 'u32'],
  ] as const)('refuses %s', (_, error, shape, dtype) => {
    expect(() => trace((graph) => void reduce(graph.input('x', shape, dtype), 'mean'))).toThrow(error);
  });
});
