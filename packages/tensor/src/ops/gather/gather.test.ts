import { describe, expect, it } from 'vitest';
import { DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { hold, randomSource, testDevice } from '../../harness/index.ts';
import { gather, gatherRows } from './gather.ts';

const device = await testDevice();

describe('gather', () => {
  for (const width of [1, 4, 63, 100]) {
    it(`takes rows of ${width}, repeated and out of range`, async () => {
      const random = randomSource(width);
      const rows = [...Array.from({ length: 70 }, () => random.integer(9)), 9, 0xffff_ffff];
      const { outputs } = await hold(device, {
        inputs: { x: { shape: [9, width] }, rows: { shape: [72], dtype: 'u32', data: rows } },
        body: ({ x, rows: index }) => ({ y: gatherRows(x, index) }),
        tolerance: 0,
      });
      expect([...outputs.y!.subarray(70 * width)].every((value) => value === 0)).toBe(true);
    });
  }

  it('takes elements of every dtype, in the shape of the index', async () => {
    await hold(device, {
      inputs: {
        x: { shape: [100] },
        y: { shape: [5], dtype: 'i32', data: [-1, 2, -3, 4, -5] },
        index: { shape: [2, 3], dtype: 'u32', data: [4, 0, 99, 100, 3, 2] },
      },
      body: ({ x, y, index }) => ({ floats: gather(x, index), integers: gather(y, index) }),
      tolerance: 0,
    });
  });

  it('keeps the bits of a NaN', async () => {
    const { outputs } = await hold(device, {
      inputs: { x: { shape: [2], data: [NaN, 1] }, index: { shape: [2], dtype: 'u32', data: [1, 0] } },
      body: ({ x, index }) => ({ y: gather(x, index) }),
      tolerance: Infinity,
    });
    expect([...outputs.y!]).toEqual([1, NaN]);
  });

  it.each([
    ['a vector as rows', ShapeError, { shape: [4], dtype: 'f32', indexDtype: 'u32' }],
    ['a scalar', ShapeError, { shape: [], dtype: 'f32', indexDtype: 'u32' }],
    ['a signed index', DTypeError, { shape: [4, 2], dtype: 'f32', indexDtype: 'i32' }],
    ['a float index', DTypeError, { shape: [4, 2], dtype: 'f32', indexDtype: 'f32' }],
  ] as const)('refuses %s', (_, error, { shape, dtype, indexDtype }) => {
    expect(() =>
      trace((graph) => void gatherRows(graph.input('x', shape, dtype), graph.input('rows', [3], indexDtype))),
    ).toThrow(error);
  });
});
