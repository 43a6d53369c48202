/** A ring that holds the last positions gives the bits of a cache that holds them all. */
import { describe, expect, it } from 'vitest';
import { ArgumentError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { hold, randomSource, testDevice } from '../../harness/index.ts';
import { appendKv } from '../append/append.ts';
import { packHalves } from '../append/half.ts';
import { moveRows } from '../append/move-rows.ts';
import { attention, attentionOperation } from './attention.ts';
import type { AttentionFamily } from './family.ts';
import { attentionFamilies } from './family.ts';
import type { AttentionMethod } from './operands.ts';

const device = await testDevice();
const [heads, kvHeads, dim, positions] = [4, 2, 8, 500];
const random = randomSource(5);
const values = (count: number) => Array.from({ length: count }, () => Math.fround(random.normal()));
const sequence = Array.from({ length: positions }, () => values(kvHeads * dim));
const queries = values(64 * heads * dim);
const u32 = (data: readonly number[], shape: readonly number[] = [data.length]) => ({
  shape,
  dtype: 'u32' as const,
  data,
});

/** Keys and values of positions `0 ..< end`, each written at its slot in turn, so that a ring keeps the last. */
function cacheOf(slots: number, end: number, packed: boolean) {
  const states = ['keys', 'values'].map(
    (name) => new State({ name, shape: [slots, kvHeads, packed ? dim / 2 : dim], dtype: packed ? 'u32' : 'f32' }),
  ) as [State, State];
  const flat = Array.from({ length: slots * kvHeads * dim }, () => 0);
  sequence.slice(0, end).forEach((row, position) => flat.splice((position % slots) * row.length, row.length, ...row));
  const content = packed
    ? Array.from({ length: flat.length / 2 }, (_, i) => packHalves(flat[2 * i]!, flat[2 * i + 1]!))
    : flat;
  return { states, contents: new Map(states.map((state) => [state, content])) };
}

/** Rows at the last positions below `end`, over a cache of `slots` slots. */
async function run(one: {
  slots: number;
  rows: number;
  end: number;
  window: number;
  method?: AttentionMethod;
  family?: AttentionFamily;
  packed?: boolean;
  tree?: boolean;
}) {
  const { slots, rows, end, window, method = 'split', family, packed = false, tree = false } = one;
  const { states, contents } = cacheOf(slots, end, packed);
  const length = end - rows;
  const path = Array.from({ length: rows * rows }, (_, i) => length + Math.min(i % rows, Math.floor(i / rows)));
  const { outputs } = await hold(device, {
    inputs: {
      q: { shape: [rows, heads, dim], data: queries.slice(0, rows * heads * dim) },
      depths: u32(Array.from({ length: rows }, (_, row) => length + row)),
      count: u32([rows]),
      length: u32([length]),
      path: u32(path, [rows, rows]),
    },
    body: (t) => {
      const operands: readonly (Tensor | State)[] = [t.q, ...states, t.depths, t.count, t.length];
      return {
        y: t.q.graph.apply(attentionOperation, tree ? [...operands, t.path] : operands, {
          scale: 0.3,
          window,
          method,
          tree,
          ...(family ? { family } : {}),
          ...(slots < positions ? { positions } : {}),
        })[0]!,
      };
    },
    states: contents,
    bound: end,
    tolerance: packed ? 1e-5 : 3e-6,
  });
  return outputs['y']!;
}

describe('attention over a ring', () => {
  it.each([
    { rows: 1, end: 499, window: 40 },
    { rows: 1, end: 30, window: 40 },
    { rows: 7, end: 333, window: 1 },
    { rows: 17, end: 480, window: 100 },
    { rows: 5, end: 400, window: 64, packed: true },
    { rows: 9, end: 301, window: 20, tree: true },
  ])('has the bits of the whole cache: $rows rows to $end, window $window', async (one) => {
    const slots = one.window - 1 + one.rows;
    expect(await run({ ...one, slots })).toEqual(await run({ ...one, slots: positions }));
  });

  it.each([
    { how: 'in splits of hardware', family: attentionFamilies.hardware },
    { how: 'in tiles', method: 'flash' as const },
  ])('agrees with its reference $how', async (how) => {
    await run({ ...how, rows: 6, end: 90, window: 20, slots: 25 });
  });

  it('takes rows at their places, and none past its last position', async () => {
    const { states, contents } = cacheOf(10, 0, false);
    const cache = { keys: states[0], values: states[1], positions: 40 };
    const { states: after } = await hold(device, {
      inputs: {
        k: { shape: [6, kvHeads, dim] },
        v: { shape: [6, kvHeads, dim] },
        slots: u32([37, 38, 39, 40, 41, 42]),
        count: u32([5]),
      },
      body: (t) => appendKv(cache, t.k, t.v, t),
      states: contents,
      tolerance: 0,
    });
    const keys = after.get(states[0])!;
    const written = Array.from({ length: 10 }, (_, slot) => keys[slot * kvHeads * dim] !== 0);
    expect(written.flatMap((yes, slot) => (yes ? [slot] : []))).toEqual([7, 8, 9]);
  });

  it('moves the accepted rows of a tree across its end', async () => {
    const ring = new State({ name: 'ring', shape: [12, 3], dtype: 'f32' });
    const before = values(36);
    const { states } = await hold(device, {
      inputs: { path: u32([0, 2, 5, 6]), count: u32([3]), length: u32([33]) },
      body: (t) => moveRows([ring], t, { ring: 12 }),
      states: new Map([[ring, before]]),
      tolerance: 0,
    });
    const rowsAt = (from: ArrayLike<number>, position: number) =>
      Array.from(from).slice((position % 12) * 3, (position % 12) * 3 + 3);
    const after = states.get(ring)!;
    expect([33, 34, 35].map((position) => rowsAt(after, position))).toEqual(
      [33, 35, 38].map((position) => rowsAt(before, position)),
    );
  });

  it('refuses to look back without a window, and more rows than it has slots', () => {
    const { states } = cacheOf(10, 0, false);
    const cache = { keys: states[0], values: states[1], positions: 40 };
    trace((graph) => {
      const rows = (count: number) => ({
        depths: graph.input(`depths ${count}`, [count], 'u32'),
        slots: graph.input(`slots ${count}`, [count], 'u32'),
        count: graph.input(`count ${count}`, [1], 'u32'),
        length: graph.input(`length ${count}`, [1], 'u32'),
      });
      const k = graph.input('k', [11, kvHeads, dim]);
      expect(() => appendKv(cache, k, k, rows(11))).toThrow(ShapeError);
      expect(() => attention(graph.input('q', [2, heads, dim]), cache, rows(2), { scale: 1 })).toThrow(ArgumentError);
    });
  });
});
