import { describe, expect, it } from 'vitest';
import { DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { hold, holdRowsInvariant, testDevice } from '../../harness/index.ts';
import { softmax } from './softmax.ts';

const device = await testDevice();

describe('softmax', () => {
  for (const width of [1, 63, 100, 1000, 4097]) {
    it(`turns rows of ${width} into probabilities`, async () => {
      const { outputs } = await hold(device, {
        inputs: { x: { shape: [3, width] } },
        body: ({ x }) => ({ y: softmax(x.mul(5)) }),
        tolerance: 2e-6,
      });
      const sum = [...outputs.y!.subarray(0, width)].reduce((a, b) => a + b, 0);
      expect(sum).toBeCloseTo(1, 5);
    });
  }

  it('takes minus infinity as a probability of 0, also beside huge numbers', async () => {
    const { outputs } = await hold(device, {
      inputs: { x: { shape: [3, 4], data: [0, -Infinity, 0, -Infinity, 3e38, -3e38, -Infinity, 0, 1, 1, 1, 1] } },
      body: ({ x }) => ({ y: softmax(x) }),
      tolerance: 1e-6,
    });
    expect([...outputs.y!]).toEqual([0.5, 0, 0.5, 0, 1, 0, 0, 0, 0.25, 0.25, 0.25, 0.25]);
  });

  it('is uniform where everything is masked', async () => {
    const { outputs } = await hold(device, {
      inputs: { x: { shape: [1, 4], data: Array.from({ length: 4 }, () => -Infinity) } },
      body: ({ x }) => ({ y: softmax(x) }),
      tolerance: 0,
    });
    expect([...outputs.y!]).toEqual([0.25, 0.25, 0.25, 0.25]);
  });

  it('does not hide a NaN, and keeps it in its row', async () => {
    const { outputs } = await hold(device, {
      inputs: { x: { shape: [3, 5], data: [1, 2, 3, 4, 5, 1, NaN, 3, 4, 5, 1, 2, 3, 4, 5] } },
      body: ({ x }) => ({ y: softmax(x) }),
      tolerance: Infinity,
    });
    const rows = [0, 1, 2].map((row) => [...outputs.y!.subarray(row * 5, row * 5 + 5)].map(Number.isNaN));
    expect(rows.map((row) => row.filter(Boolean).length)).toEqual([0, 5, 0]);
  });

  it('gives a row the same bits in any company', async () => {
    await holdRowsInvariant(device, {
      rows: { x: { shape: [517] } },
      body: ({ x }) => ({ y: softmax(x) }),
      tolerance: 2e-6,
    });
  });

  it.each([
    ['a scalar', ShapeError, [], 'f32'],
    ['an empty axis', ShapeError, [3, 0], 'f32'],
    ['integers', DTypeError, [2, 4], 'u32'],
  ] as const)('refuses %s', (_, error, shape, dtype) => {
    expect(() => trace((graph) => void softmax(graph.input('x', shape, dtype)))).toThrow(error);
  });
});
