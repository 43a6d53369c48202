import { describe, expect, it } from 'vitest';
import { State } from '../../graph/state.ts';
import { hold, randomSource, testDevice } from '../../harness/index.ts';
import { packHalves } from '../append/half.ts';
import { attentionOperation } from './attention.ts';
import type { AttentionFamily } from './family.ts';
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
    path: { shape: [rows, path?.maxDepth ?? 1], dtype: 'u32' as const, data: path?.slots ?? depths },
  };
  const { outputs } = await hold(device, {
    inputs,
    body: (t, graph) => ({
      y: graph.apply(attentionOperation, [t.q, keys, values, t.depths, t.count, t.length, ...(path ? [t.path] : [])], {
        scale: dim ** -0.5,
        tree: path !== undefined,
        sinks: false,
        ...(setup.window ? { window: setup.window } : {}),
        ...(setup.softcap ? { softcap: setup.softcap } : {}),
        ...(setup.family ? { family: setup.family } : {}),
      })[0]!,
    }),
    states: new Map([[keys, content(keys)], [values, content(values)]]),
    bound: setup.bound ?? Math.max(...depths) + 1,
    tolerance: 2e-6,
    seed,
  });
  return outputs['y']!;
}

const base = { rows: 1, heads: 4, kvHeads: 2, dim: 32, capacity: 300, depths: [299] };
const chain = (length: number, rows: number) => Array.from({ length: rows }, (_, i) => length + i);

describe('attention', () => {
  for (const [name, family] of Object.entries(attentionFamilies)) {
    const shapes: Record<string, Setup> = {
      'one key': { ...base, depths: [0] },
      'a block exactly': { ...base, depths: [63] },
      'a block and one': { ...base, depths: [64] },
      'several spans': { ...base, heads: 2, capacity: 1300, depths: [1200] },
      'one head': { ...base, heads: 1, kvHeads: 1 },
      'eight query heads a kv head': { ...base, heads: 8, kvHeads: 1 },
      'twenty query heads a kv head': { ...base, heads: 20, kvHeads: 1 },
      'seven query heads a kv head': { ...base, heads: 14, kvHeads: 2 },
      'odd width': { ...base, dim: 63 },
      'width 1': { ...base, dim: 1 },
      'width 100': { ...base, dim: 100 },
      'width 256': { ...base, dim: 256, heads: 2, kvHeads: 1 },
      'narrow values': { ...base, valueDim: 20 },
      'f16, width 2': { ...base, dim: 2, packed: true },
      'f16, width 80': { ...base, dim: 80, packed: true },
      'f16, width 66': { ...base, dim: 66, packed: true },
      'rows of a chain': { ...base, rows: 7, depths: chain(120, 7), length: 120 },
      'padded rows': { ...base, rows: 16, count: 3, depths: chain(250, 16), length: 250 },
      'a window': { ...base, rows: 9, depths: chain(200, 9), window: 40 },
      'a window over spans': { ...base, rows: 33, heads: 2, capacity: 900, depths: chain(800, 33), window: 300 },
      'a window of one': { ...base, rows: 3, depths: chain(64, 3), window: 1 },
      'a softcap': { ...base, softcap: 0.7 },
      'sixty-four rows': { ...base, rows: 64, heads: 2, kvHeads: 1, depths: chain(36, 64), length: 36 },
      'a looser bound': { ...base, depths: [100], bound: 280 },
    };
    for (const [shape, setup] of Object.entries(shapes)) {
      it(`agrees with its reference on ${shape} (${name} family)`, () => run({ ...setup, family }));
    }
  }
});

expect;
