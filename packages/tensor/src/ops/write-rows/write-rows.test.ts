import { describe, expect, it } from 'vitest';
import { DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import { hold, testDevice } from '../../harness/index.ts';
import { writeRows, writeRowsPacked } from './write-rows.ts';

const device = await testDevice();

const slots = [4, 0, 9, 2, 10, 0xffff_ffff, 7];

describe('writeRows', () => {
  for (const width of [1, 4, 63, 100, 1000]) {
    it(`writes rows of ${width} where their slots say`, async () => {
      const all = new State({ name: 'all', shape: [10, width], dtype: 'f32', init: { fill: 7 } });
      const some = new State({ name: 'some', shape: [10, width], dtype: 'f32', init: { fill: 7 } });
      const { states } = await hold(device, {
        inputs: {
          rows: { shape: [7, width] },
          slots: { shape: [7], dtype: 'u32', data: slots },
          count: { shape: [1], dtype: 'u32', data: [3] },
        },
        body: (x) => {
          writeRows(all, x.rows, { slots: x.slots });
          writeRows(some, x.rows, { slots: x.slots, count: x.count });
        },
        tolerance: 0,
      });
      const untouched = (state: State) => [...states.get(state)!].filter((value) => value === 7).length;
      expect(untouched(all)).toBe(5 * width);
      expect(untouched(some)).toBe(7 * width);
    });
  }

  it('writes integers, heads folded, and nothing for a count of 0', async () => {
    const state = new State({ name: 'tokens', shape: [10, 6], dtype: 'u32' });
    await hold(device, {
      inputs: {
        rows: { shape: [2, 3, 2], dtype: 'u32', data: Array.from({ length: 12 }, (_, i) => i + 1) },
        slots: { shape: [2], dtype: 'u32', data: [3, 1] },
        none: { shape: [1], dtype: 'u32', data: [0] },
      },
      body: (x) => {
        writeRows(state, x.rows, { slots: x.slots });
        writeRows(state, x.rows.add(100), { slots: x.slots, count: x.none });
      },
      tolerance: 0,
    });
  });

  const count = { shape: [1], dtype: 'u32' } as const;
  it.each([
    ['another width', ShapeError, { rows: [2, 4], slots: { shape: [2], dtype: 'u32' }, count }],
    ['slots for other rows', ShapeError, { rows: [2, 3], slots: { shape: [3], dtype: 'u32' }, count }],
    ['slots that are no vector', ShapeError, { rows: [2, 3], slots: { shape: [2, 1], dtype: 'u32' }, count }],
    ['signed slots', DTypeError, { rows: [2, 3], slots: { shape: [2], dtype: 'i32' }, count }],
    [
      'a count of another shape',
      ShapeError,
      { rows: [2, 3], slots: { shape: [2], dtype: 'u32' }, count: { ...count, shape: [] } },
    ],
    [
      'a float count',
      DTypeError,
      { rows: [2, 3], slots: { shape: [2], dtype: 'u32' }, count: { ...count, dtype: 'f32' } },
    ],
  ] as const)('refuses %s', (_, error, given) => {
    const state = new State({ name: 'keys', shape: [8, 3], dtype: 'f32' });
    const packed = new State({ name: 'packed keys', shape: [8, 2], dtype: 'u32' });
    for (const write of [
      (rows: Parameters<typeof writeRows>[1], options: Parameters<typeof writeRows>[2]) =>
        writeRows(state, rows, options),
      (rows: Parameters<typeof writeRows>[1], options: Parameters<typeof writeRows>[2]) =>
        writeRowsPacked(packed, rows.graph.input('wide', [given.rows[0], given.rows[1] === 4 ? 5 : 3]), options),
    ]) {
      expect(() =>
        trace((graph) =>
          write(graph.input('rows', given.rows), {
            slots: graph.input('slots', given.slots.shape, given.slots.dtype),
            count: graph.input('count', given.count.shape, given.count.dtype),
          }),
        ),
      ).toThrow(error);
    }
  });

  it('refuses rows of another dtype than the state', () => {
    const state = new State({ name: 'keys', shape: [8, 3], dtype: 'u32' });
    expect(() =>
      trace((graph) => writeRows(state, graph.input('rows', [2, 3]), { slots: graph.input('slots', [2], 'u32') })),
    ).toThrow(DTypeError);
  });
});

describe('writeRowsPacked', () => {
  for (const width of [1, 4, 63, 100]) {
    it(`packs rows of ${width} into f16 pairs`, async () => {
      const all = new State({ name: 'all', shape: [10, Math.ceil(width / 2)], dtype: 'u32', init: { fill: 7 } });
      const some = new State({ name: 'some', shape: [10, Math.ceil(width / 2)], dtype: 'u32', init: { fill: 7 } });
      await hold(device, {
        inputs: {
          rows: { shape: [7, width] },
          slots: { shape: [7], dtype: 'u32', data: slots },
          count: { shape: [1], dtype: 'u32', data: [4] },
        },
        body: (x) => {
          writeRowsPacked(all, x.rows, { slots: x.slots });
          writeRowsPacked(some, x.rows, { slots: x.slots, count: x.count });
        },
        tolerance: 0,
      });
    });
  }

  it('rounds to even, keeps subnormals, clamps what is too large and shows what is no number', async () => {
    const state = new State({ name: 'keys', shape: [1, 8], dtype: 'u32' });
    const data = [
      0,
      -0,
      1,
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      65_519,
      1e9,
      -1e9,
      2 ** -24,
      2 ** -25,
      3 * 2 ** -26,
      2 ** -14,
      NaN,
      Infinity,
      -Infinity,
      1e-30,
    ];
    const { states } = await hold(device, {
      inputs: { rows: { shape: [1, 16], data }, slots: { shape: [1], dtype: 'u32', data: [0] } },
      body: (x) => writeRowsPacked(state, x.rows, { slots: x.slots }),
      tolerance: 0,
    });
    const halves = new Uint16Array(states.get(state)!.buffer);
    expect([...halves].slice(0, 12)).toEqual([
      0, 0x8000, 0x3c00, 0x3c00, 0x3c02, 0x7bff, 0x7bff, 0xfbff, 0x0001, 0, 0x0001, 0x0400,
    ]);
    expect([...halves].slice(12, 15)).toEqual([0x7e00, 0x7e00, 0x7e00]);
  });
});
