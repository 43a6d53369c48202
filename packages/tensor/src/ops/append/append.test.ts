import { describe, expect, it } from 'vitest';
import { DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import { hold, randomSource, testDevice } from '../../harness/index.ts';
import { appendKv } from './append.ts';
import { float16Value } from '../../graph/float16.ts';
import { halfBits } from './half.ts';
import { moveRows } from './move-rows.ts';

const device = await testDevice();
const random = randomSource(7);

const cacheOf = (shape: [number, number, number], packed: boolean) => {
  const stored = packed ? [shape[0], shape[1], shape[2] / 2] : shape;
  const state = (name: string) => new State({ name, shape: stored, dtype: packed ? 'u32' : 'f32' });
  return { keys: state('keys'), values: state('values') };
};

describe('appendKv', () => {
  for (const packed of [false, true]) {
    for (const [rows, kvHeads, width, count] of [
      [1, 1, 2, 1],
      [7, 3, 18, 5],
      [64, 2, 64, 64],
      [100, 1, 10, 63],
    ] as const) {
      it(`writes ${count} of ${rows} rows of ${kvHeads} x ${width}${packed ? ' as f16' : ''}`, async () => {
        const slots = Array.from({ length: rows }, (_, i) => (i * 37 + 5) % 101);
        await hold(device, {
          inputs: {
            k: { shape: [rows, kvHeads, width] },
            v: { shape: [rows, kvHeads, width] },
            slots: { shape: [rows], dtype: 'u32', data: slots },
            count: { shape: [1], dtype: 'u32', data: [count] },
          },
          body: (t) => appendKv(cacheOf([101, kvHeads, width], packed), t.k, t.v, t),
          tolerance: 0,
        });
      });
    }
  }

  it('rounds to f16 as IEEE 754 does, saturates, and keeps what is not a number', async () => {
    const values = [
      0,
      -0,
      1,
      -1.5,
      65_504,
      65_519,
      65_520,
      1e9,
      -1e9,
      6.1e-5,
      6.09e-5,
      5.96e-8,
      2.98e-8,
      2.99e-8,
      1e-9,
      -3.3e-6,
      1.00048828125,
      1.00146484375,
      0.333333333,
      NaN,
    ];
    const cache = cacheOf([1, 1, values.length], true);
    const { states } = await hold(device, {
      inputs: {
        k: { shape: [1, 1, values.length], data: values },
        v: { shape: [1, 1, values.length], data: values },
        slots: { shape: [1], dtype: 'u32', data: [0] },
        count: { shape: [1], dtype: 'u32', data: [1] },
      },
      body: (t) => appendKv(cache, t.k, t.v, t),
      tolerance: 0,
    });
    const words = states.get(cache.keys)!;
    const halves = values.map((_, i) => float16Value((words[i >> 1]! >>> (16 * (i & 1))) & 0xffff));
    expect(halves[6]).toBe(65_504);
    expect(halves.at(-1)).toBeNaN();
    values
      .slice(0, -1)
      .forEach((value, i) =>
        expect(Math.abs(halves[i]! - Math.max(-65_504, Math.min(65_504, value)))).toBeLessThanOrEqual(
          Math.abs(value) * 2 ** -11 + 2 ** -25,
        ),
      );
  });

  it('has the inverse of every f16', () => {
    for (let bits = 0; bits < 0x7c00; bits++) expect(halfBits(float16Value(bits))).toBe(bits);
    expect(halfBits(float16Value(0x8001))).toBe(0x8001);
  });

  it('leaves slots past the capacity alone', async () => {
    const cache = cacheOf([4, 1, 2], false);
    await hold(device, {
      inputs: {
        k: { shape: [3, 1, 2] },
        v: { shape: [3, 1, 2] },
        slots: { shape: [3], dtype: 'u32', data: [3, 4, 1_000_000] },
        count: { shape: [1], dtype: 'u32', data: [3] },
      },
      body: (t) => appendKv(cache, t.k, t.v, t),
      tolerance: 0,
    });
  });

  it('refuses what does not fit', () => {
    trace((graph) => {
      const rows = { slots: graph.input('slots', [2], 'u32'), count: graph.input('count', [1], 'u32') };
      const x = graph.input('x', [2, 1, 4]);
      expect(() => appendKv(cacheOf([8, 1, 6], false), x, x, rows)).toThrow(ShapeError);
      expect(() => appendKv(cacheOf([8, 1, 4], false), x.to('u32'), x, rows)).toThrow(DTypeError);
    });
  });
});

describe('moveRows', () => {
  for (const states of [1, 4, 7]) {
    it(`moves the accepted rows of ${states} caches in place`, async () => {
      const caches = Array.from(
        { length: states },
        (_, i) => new State({ name: `cache ${i}`, shape: [40, 2, 3 + 16 * i], dtype: i % 2 ? 'u32' : 'f32' }),
      );
      const content = caches.map(({ shape, dtype }) =>
        Array.from({ length: shape[0]! * shape[1]! * shape[2]! }, () =>
          dtype === 'u32' ? random.integer(2 ** 32) : Math.fround(random.normal()),
        ),
      );
      await hold(device, {
        inputs: {
          path: { shape: [16], dtype: 'u32', data: [0, 1, 4, 5, 6, 13, 15, 9, 9, 9, 9, 9, 9, 9, 9, 9] },
          count: { shape: [1], dtype: 'u32', data: [7] },
          length: { shape: [1], dtype: 'u32', data: [21] },
        },
        body: (t) => moveRows(caches, t),
        states: new Map(caches.map((cache, i) => [cache, content[i]!])),
        tolerance: 0,
      });
    });
  }
});
