import { describe, expect, it } from 'vitest';
import { DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { hold, testDevice } from '../../harness/index.ts';
import { scatterRows } from './scatter.ts';

const device = await testDevice();

describe('scatterRows', () => {
  for (const width of [1, 4, 63, 100]) {
    it(`replaces rows of ${width}`, async () => {
      await hold(device, {
        inputs: {
          x: { shape: [9, width] },
          slots: { shape: [5], dtype: 'u32', data: [8, 0, 9, 3, 0xffff_ffff] },
          rows: { shape: [5, width] },
        },
        body: ({ x, slots, rows }) => ({ y: scatterRows(x, slots, rows) }),
        tolerance: 0,
      });
    });
  }

  it('leaves its operand as it is', async () => {
    await hold(device, {
      inputs: {
        x: { shape: [6], dtype: 'u32', data: [1, 2, 3, 4, 5, 6] },
        slots: { shape: [2], dtype: 'u32', data: [5, 1] },
        rows: { shape: [2], dtype: 'u32', data: [10, 20] },
      },
      body: ({ x, slots, rows }) => ({ y: scatterRows(x, slots, rows), again: x.add(0) }),
      tolerance: 0,
    });
  });

  it.each([
    ['a scalar', ShapeError, { x: [], slots: [2], rows: [2], dtype: 'u32' }],
    ['rows of another width', ShapeError, { x: [4, 3], slots: [2], rows: [2, 4], dtype: 'u32' }],
    ['more rows than slots', ShapeError, { x: [4, 3], slots: [2], rows: [3, 3], dtype: 'u32' }],
    ['slots that are no vector', ShapeError, { x: [4, 3], slots: [2, 1], rows: [2, 3], dtype: 'u32' }],
    ['signed slots', DTypeError, { x: [4, 3], slots: [2], rows: [2, 3], dtype: 'i32' }],
  ] as const)('refuses %s', (_, error, { x, slots, rows, dtype }) => {
    expect(() =>
      trace(
        (graph) => void scatterRows(graph.input('x', x), graph.input('slots', slots, dtype), graph.input('rows', rows)),
      ),
    ).toThrow(error);
  });
});
