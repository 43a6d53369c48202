import { describe, expect, it } from 'vitest';
import { ArgumentError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { hold, testDevice } from '../../harness/index.ts';
import { slice } from './slice.ts';

const device = await testDevice();

describe('slice', () => {
  it.each([
    [[1000], 0, [1, 64]],
    [[63, 5], 0, [7, 63]],
    [[7, 100], 1, [3, 99]],
    [[7, 128], -1, [4, 100]],
    [[3, 5, 7], 1, [4, 5]],
    [[2, 3, 8], -2, [1, 3]],
  ] as const)('cuts %j along axis %d to %j', async (shape, axis, range) => {
    await hold(device, {
      inputs: { x: { shape } },
      body: ({ x }) => ({ y: slice(x, axis, range) }),
      tolerance: 0,
    });
  });

  it('cuts integers', async () => {
    await hold(device, {
      inputs: { x: { shape: [9], dtype: 'u32', data: [1, 2, 3, 4, 5, 6, 7, 8, 0xffff_ffff] } },
      body: ({ x }) => ({ y: slice(x, 0, [5, 9]) }),
      tolerance: 0,
    });
  });

  it('costs no dispatch where the part can be bound alone', async () => {
    const { dispatches } = await hold(device, {
      inputs: { x: { shape: [4, 64] } },
      body: ({ x }) => ({ y: slice(slice(x, 0, [1, 4]), 0, [1, 2]).neg(), z: slice(x, 0, [3, 4]) }),
      tolerance: 0,
    });
    expect(dispatches).toBe(1);
  });

  it.each([
    ['a scalar', ShapeError, { shape: [], axis: 0, range: [0, 1] }],
    ['an axis that is not there', ArgumentError, { shape: [3, 4], axis: 2, range: [0, 1] }],
    ['an axis before the first', ArgumentError, { shape: [3, 4], axis: -3, range: [0, 1] }],
    ['an empty range', ArgumentError, { shape: [3, 4], axis: 1, range: [2, 2] }],
    ['a range past the end', ArgumentError, { shape: [3, 4], axis: 1, range: [2, 5] }],
    ['a fraction', ArgumentError, { shape: [3, 4], axis: 1, range: [0.5, 2] }],
  ] as const)('refuses %s', (_, error, { shape, axis, range }) => {
    expect(() => trace((graph) => void slice(graph.input('x', shape), axis, range))).toThrow(error);
  });
});
