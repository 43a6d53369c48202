import { describe, expect, it } from 'vitest';
import { DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import { hold, testDevice } from '../../harness/index.ts';
import { copyRows } from './copy-rows.ts';

const device = await testDevice();

async function compact(state: State, lists: { from: number[]; to: number[]; count: number }): Promise<number[]> {
  const rows = lists.from.length;
  const { states } = await hold(device, {
    inputs: {
      from: { shape: [rows], dtype: 'u32', data: lists.from },
      to: { shape: [rows], dtype: 'u32', data: lists.to },
      count: { shape: [1], dtype: 'u32', data: [lists.count] },
    },
    states: new Map([[state, Array.from({ length: state.byteLength / 4 }, (_, i) => i)]]),
    body: (x) => copyRows(state, x.from, x.to, x.count),
    tolerance: 0,
  });
  return [...states.get(state)!];
}

describe('copyRows', () => {
  for (const width of [1, 4, 63, 300]) {
    it(`closes up rows of ${width} that overlap`, async () => {
      const state = new State({ name: 'keys', shape: [20, width], dtype: 'f32' });
      const after = await compact(state, {
        from: [5, 6, 8, 9, 12, 13, 19, 0],
        to: [5, 6, 7, 8, 9, 10, 11, 0],
        count: 7,
      });
      const rows = Array.from({ length: 20 }, (_, row) => after[row * width]! / width);
      expect(rows.slice(4, 13)).toEqual([4, 5, 6, 8, 9, 12, 13, 19, 12]);
      expect(rows[0]).toBe(0);
    });
  }

  it('moves nothing for a count of 0, and skips rows past the end', async () => {
    const state = new State({ name: 'slots', shape: [6], dtype: 'u32' });
    expect(await compact(state, { from: [3, 4], to: [1, 2], count: 0 })).toEqual([0, 1, 2, 3, 4, 5]);
    const other = new State({ name: 'slots', shape: [6], dtype: 'u32' });
    expect(await compact(other, { from: [3, 5, 6, 9], to: [1, 2, 3, 9], count: 9 })).toEqual([0, 3, 5, 3, 4, 5]);
  });

  it.each([
    ['lists of two lengths', ShapeError, { from: [4], to: [3], dtype: 'u32', count: [1] }],
    ['lists that are no vectors', ShapeError, { from: [2, 2], to: [2, 2], dtype: 'u32', count: [1] }],
    ['a count of another shape', ShapeError, { from: [4], to: [4], dtype: 'u32', count: [2] }],
    ['signed lists', DTypeError, { from: [4], to: [4], dtype: 'i32', count: [1] }],
  ] as const)('refuses %s', (_, error, { from, to, dtype, count }) => {
    const state = new State({ name: 'keys', shape: [8, 3], dtype: 'f32' });
    expect(() =>
      trace((graph) =>
        copyRows(
          state,
          graph.input('from', from, dtype),
          graph.input('to', to, 'u32'),
          graph.input('count', count, 'u32'),
        ),
      ),
    ).toThrow(error);
  });
});
