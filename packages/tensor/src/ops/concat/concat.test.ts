import { describe, expect, it } from 'vitest';
import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { hold, testDevice } from '../../harness/index.ts';
import { concat } from './concat.ts';

const device = await testDevice();

describe('concat', () => {
  it.each([
    [0, [1000], [1], [63]],
    [0, [2, 5], [1, 5], [7, 5]],
    [1, [7, 3], [7, 100], [7, 1]],
    [-2, [2, 3, 5], [2, 1, 5], [2, 4, 5]],
  ] as const)('joins along axis %d', async (axis, a, b, c) => {
    await hold(device, {
      inputs: { a: { shape: a }, b: { shape: b }, c: { shape: c } },
      body: (x) => ({ y: concat([x.a, x.b, x.c], axis), twice: concat([x.a, x.a], axis), one: concat([x.b], axis) }),
      tolerance: 0,
    });
  });

  it('joins more tensors than a kernel binds', async () => {
    const { dispatches } = await hold(device, {
      inputs: { x: { shape: [3, 2] } },
      body: ({ x }) => ({
        y: concat(
          Array.from({ length: 9 }, (_, i) => x.mul(2 ** i)),
          1,
        ),
      }),
      tolerance: 0,
    });
    expect(dispatches).toBe(9 + 2);
  });

  it.each([
    ['nothing', ArgumentError, { shapes: [], dtype: 'f32', axis: 0 }],
    ['other ranks', ShapeError, { shapes: [[2, 3], [3]], dtype: 'f32', axis: 0 }],
    [
      'other sizes',
      ShapeError,
      {
        shapes: [
          [2, 3],
          [2, 4],
        ],
        dtype: 'f32',
        axis: 0,
      },
    ],
    [
      'an axis that is not there',
      ArgumentError,
      {
        shapes: [
          [2, 3],
          [2, 3],
        ],
        dtype: 'f32',
        axis: 2,
      },
    ],
    [
      'other dtypes',
      DTypeError,
      {
        shapes: [
          [2, 3],
          [2, 3],
        ],
        dtype: 'u32',
        axis: 0,
      },
    ],
  ] as const)('refuses %s', (_, error, { shapes, dtype, axis }) => {
    expect(() =>
      trace(
        (graph) =>
          void concat(
            shapes.map((shape, i) => graph.input(`x${i}`, shape, i === 0 ? 'f32' : dtype)),
            axis,
          ),
      ),
    ).toThrow(error);
  });
});
