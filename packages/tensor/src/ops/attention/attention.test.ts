import { describe, expect, it } from 'vitest';
import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import { Weight } from '../../graph/weight.ts';
import { hold, randomSource, testDevice, uploadFloats } from '../../harness/index.ts';
import { packHalves } from '../append/half.ts';
import { attention, attentionOperation } from './attention.ts';
import type { AttentionFamily } from './family.ts';
import type { AttentionMethod } from './operands.ts';
import { attentionFamilies } from './family.ts';

const device = await testDevice();

/** One application: sizes, which rows see what, and options. */
interface Setup {
  readonly rows: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly dim: number;
  readonly valueDim?: number;
  readonly capacity: number;
  readonly depths: readonly number[];
  readonly count?: number;
  readonly length?: number;
  readonly path?: { readonly maxDepth: number; readonly slots: readonly number[] };
  readonly packed?: boolean;
  readonly window?: number;
  readonly softcap?: number;
  readonly family?: AttentionFamily;
  readonly bound?: number;
  readonly method?: AttentionMethod;
  readonly begins?: readonly number[];
  readonly sinks?: boolean;
}

async function run(setup: Setup, seed = 3) {
  const { rows, heads, kvHeads, dim, valueDim = dim, capacity, depths, packed = false, path } = setup;
  const random = randomSource(seed);
  const perWord = packed ? 2 : 1;
  const state = (name: string, width: number) =>
    new State({ name, shape: [capacity, kvHeads, width / perWord], dtype: packed ? 'u32' : 'f32' });
  const [keys, values] = [state('keys', dim), state('values', valueDim)];
  const content = ({ shape }: State) =>
    Array.from({ length: shape[0]! * shape[1]! * shape[2]! }, () =>
      packed ? packHalves(random.normal(), random.normal()) : Math.fround(random.normal()),
    );
  const inputs = {
    q: { shape: [rows, heads, dim] },
    depths: { shape: [rows], dtype: 'u32' as const, data: depths },
    count: { shape: [1], dtype: 'u32' as const, data: [setup.count ?? rows] },
    length: { shape: [1], dtype: 'u32' as const, data: [setup.length ?? 0] },
    begins: { shape: [rows], dtype: 'u32' as const, data: setup.begins ?? depths },
    path: { shape: [rows, path?.maxDepth ?? 1], dtype: 'u32' as const, data: path?.slots ?? depths },
  };
  const sinks = setup.sinks && new Weight({ name: 'sinks', shape: [heads], format: 'f32' });
  const weights = new Map(sinks ? [[sinks, Array.from({ length: heads }, () => Math.fround(random.normal()))]] : []);
  const { outputs } = await hold(device, {
    inputs,
    body: (t, graph) => ({
      y: graph.apply(
        attentionOperation,
        [
          t.q,
          keys,
          values,
          t.depths,
          t.count,
          t.length,
          ...(path ? [t.path] : []),
          ...(setup.begins ? [t.begins] : []),
          ...(sinks ? [sinks] : []),
        ],
        {
          scale: dim ** -0.5,
          tree: path !== undefined,
          begins: setup.begins !== undefined,
          sinks: sinks !== undefined,
          ...(setup.window ? { window: setup.window } : {}),
          ...(setup.softcap ? { softcap: setup.softcap } : {}),
          ...(setup.family ? { family: setup.family } : {}),
          ...(setup.method ? { method: setup.method } : {}),
        },
      )[0]!,
    }),
    states: new Map([
      [keys, content(keys)],
      [values, content(values)],
    ]),
    weights,
    upload: uploadFloats(weights),
    bound: setup.bound ?? Math.max(...depths) + 1,
    tolerance: 2e-6,
    seed,
  });
  return outputs['y']!;
}

const base = { rows: 1, heads: 4, kvHeads: 2, dim: 32, capacity: 300, depths: [299] };
const chain = (length: number, rows: number) => Array.from({ length: rows }, (_, i) => length + i);

const shapes: Record<string, Setup> = {
  'one key': { ...base, depths: [0] },
  'a block exactly': { ...base, depths: [63] },
  'a block and one': { ...base, depths: [64] },
  'several spans': { ...base, heads: 2, capacity: 1300, depths: [1200] },
  'one head': { ...base, heads: 1, kvHeads: 1 },
  'twenty query heads a kv head': { ...base, heads: 20, kvHeads: 1 },
  'seven query heads a kv head': { ...base, heads: 14, kvHeads: 2 },
  'odd width': { ...base, dim: 63 },
  'width 1': { ...base, dim: 1 },
  'width 100': { ...base, dim: 100 },
  'width 256': { ...base, dim: 256, heads: 2, kvHeads: 1 },
  'width 512': { ...base, dim: 512, heads: 2, kvHeads: 1 },
  'narrow values': { ...base, valueDim: 20 },
  'f16, width 2': { ...base, dim: 2, packed: true },
  'f16, width 80': { ...base, dim: 80, packed: true },
  'f16, width 66': { ...base, dim: 66, packed: true },
  'rows of a chain': { ...base, rows: 7, depths: chain(120, 7), length: 120 },
  'padded rows': { ...base, rows: 16, count: 3, depths: chain(250, 16), length: 250 },
  'rows that see nothing': { ...base, rows: 5, depths: [0xffff_ffff, 3, 0xffff_ffff, 250, 0xffff_ffff], bound: 300 },
  'a window': { ...base, rows: 9, depths: chain(200, 9), window: 40 },
  'a window over spans': { ...base, rows: 33, heads: 2, capacity: 900, depths: chain(800, 33), window: 300 },
  'a window of one': { ...base, rows: 3, depths: chain(64, 3), window: 1 },
  'first positions': { ...base, rows: 5, depths: chain(200, 5), begins: [0, 70, 202, 204, 140] },
  'first positions in a window': {
    ...base,
    rows: 5,
    depths: chain(200, 5),
    begins: [0, 70, 202, 204, 140],
    window: 100,
  },
  'a softcap': { ...base, softcap: 0.7 },
  sinks: { ...base, rows: 3, count: 2, depths: chain(70, 3), sinks: true },
  'sixty-four rows': { ...base, rows: 64, heads: 2, kvHeads: 1, depths: chain(36, 64), length: 36 },
  'two hundred rows': { ...base, rows: 200, heads: 2, kvHeads: 1, count: 190, depths: chain(36, 200), length: 36 },
  'a looser bound': { ...base, depths: [100], bound: 280 },
};

const methods: Record<string, Partial<Setup>> = {
  'splits of hardware': { method: 'split', family: attentionFamilies.hardware },
  'splits of software': { method: 'split', family: attentionFamilies.software },
  tiles: { method: 'flash' },
};

// Kernels of hardware take a software adapter long to compile, so they see some of the shapes.
const hardwareShapes = [
  'a block and one',
  'several spans',
  'seven query heads a kv head',
  'odd width',
  'width 256',
  'width 512',
  'f16, width 66',
  'rows that see nothing',
  'a window over spans',
  'first positions in a window',
  'sinks',
  'two hundred rows',
];

describe.each(Object.entries(methods))('attention in %s', (name, method) => {
  const chosen = Object.entries(shapes).filter(
    ([shape]) => name === 'splits of software' || hardwareShapes.includes(shape),
  );
  it.each(chosen)('agrees with its reference: %s', async (__, setup) => {
    const y = await run({ ...setup, ...method });
    expect(y.every(Number.isFinite)).toBe(true);
  });
});

describe('attention', () => {
  it('refuses what does not fit', () => {
    const keys = new State({ name: 'keys', shape: [8, 2, 4], dtype: 'f32' });
    const values = new State({ name: 'values', shape: [8, 2, 4], dtype: 'f32' });
    trace((graph) => {
      const q = graph.input('q', [3, 4, 4]);
      const u32 = (name: string, shape: number[]) => graph.input(name, shape, 'u32');
      const rows = { depths: u32('depths', [3]), count: u32('count', [1]), length: u32('length', [1]) };
      const refused: [new (message: string) => Error, () => unknown][] = [
        [ShapeError, () => attention(graph.input('three heads', [3, 3, 4]), { keys, values }, rows, { scale: 1 })],
        [ShapeError, () => attention(graph.input('wide heads', [3, 4, 5]), { keys, values }, rows, { scale: 1 })],
        [DTypeError, () => attention(q.to('u32'), { keys, values }, rows, { scale: 1 })],
        [ShapeError, () => attention(q, { keys, values }, { ...rows, depths: u32('two depths', [2]) }, { scale: 1 })],
        [ShapeError, () => attention(q, { keys, values }, { ...rows, path: u32('flat path', [3]) }, { scale: 1 })],
        [
          ArgumentError,
          () =>
            attention(q, { keys, values }, { ...rows, path: u32('path', [3, 2]), begins: rows.depths }, { scale: 1 }),
        ],
        [ArgumentError, () => attention(q, { keys, values }, rows, { scale: 1, window: 0 })],
        [ArgumentError, () => attention(q, { keys, values }, rows, { scale: NaN })],
        [ArgumentError, () => attention(q, { keys, values }, rows, { scale: 1, softcap: 0 })],
        [
          ShapeError,
          () =>
            attention(q, { keys, values }, rows, {
              scale: 1,
              sinks: new Weight({ name: 's', shape: [2], format: 'f32' }),
            }),
        ],
        [
          ShapeError,
          () =>
            attention(q, { keys, values: new State({ name: 'v', shape: [9, 2, 4], dtype: 'f32' }) }, rows, {
              scale: 1,
            }),
        ],
        [
          DTypeError,
          () =>
            attention(q, { keys, values: new State({ name: 'v', shape: [8, 2, 4], dtype: 'u32' }) }, rows, {
              scale: 1,
            }),
        ],
      ];
      for (const [error, body] of refused) expect(body).toThrow(error);
    });
  });
});
