import { describe, expect, it } from 'vitest';
import { DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { hold, holdRowsInvariant, randomSource, testDevice } from '../../harness/index.ts';
import { argmax, nanIndex } from './argmax.ts';

const device = await testDevice();

describe('argmax', () => {
  for (const width of [1, 63, 100, 1000, 8193, 20_000]) {
    it(`finds the largest of ${width}`, async () => {
      await hold(device, {
        inputs: { x: { shape: [2, 3, width] } },
        body: ({ x }) => ({ y: argmax(x) }),
        tolerance: 0,
      });
    });
  }

  it('lets the lowest index win ties, across lanes and chunks', async () => {
    const random = randomSource(5);
    const data = Array.from({ length: 4 * 9000 }, () => random.integer(3) - 1);
    await hold(device, {
      inputs: { x: { shape: [4, 9000], data } },
      body: ({ x }) => ({ y: argmax(x) }),
      tolerance: 0,
    });
  });

  it('takes both zeros as equal, and orders negative and infinite numbers', async () => {
    const data = [-0, 0, -1, 0, -0, -1, -5, -3, -4, -Infinity, -Infinity, -Infinity, 1, Infinity, Infinity];
    const { outputs } = await hold(device, {
      inputs: { x: { shape: [5, 3], data } },
      body: ({ x }) => ({ y: argmax(x) }),
      tolerance: 0,
    });
    expect([...outputs.y!]).toEqual([0, 0, 1, 0, 1]);
  });

  it.each([10, 9000])('gives no index for a row of %d with a NaN', async (width) => {
    const data = Array.from({ length: 3 * width }, (_, i) => i % 7);
    data[width + (width >> 1)] = NaN;
    const { outputs } = await hold(device, {
      inputs: { x: { shape: [3, width], data } },
      body: ({ x }) => ({ y: argmax(x) }),
      tolerance: 0,
    });
    expect(outputs.y![1]).toBe(nanIndex);
    expect(outputs.y![0]).toBe(6);
  });

  it('gives a row the same result in any company', async () => {
    await holdRowsInvariant(device, {
      rows: { x: { shape: [257] } },
      body: ({ x }) => ({ y: argmax(x) }),
      tolerance: 0,
    });
  });

  it.each([
    ['a scalar', ShapeError, [], 'f32'],
    ['an empty axis', ShapeError, [3, 0], 'f32'],
    ['integers', DTypeError, [2, 4], 'u32'],
  ] as const)('refuses %s', (_, error, shape, dtype) => {
    expect(() => trace((graph) => void argmax(graph.input('x', shape, dtype)))).toThrow(error);
  });
});
