import { describe, expect, it } from 'vitest';
import type { Graph } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { Weight } from '../../graph/weight.ts';
import { hold, holdRowsInvariant, randomSource, testDevice, uploadFloats } from '../../harness/index.ts';
import { appendKv } from '../append/append.ts';
import { linear } from '../linear/linear.ts';
import { rmsNorm } from '../rms-norm/rms-norm.ts';
import type { RopeParameters } from '../rope/parameters.ts';
import { ropeFrequencies } from '../rope/frequencies.ts';
import { rope } from '../rope/rope.ts';

const device = await testDevice();

interface Setup {
  readonly heads: number;
  readonly kvHeads: number;
  readonly dim: number;
  readonly rotaryWidth?: number;
  readonly interleaved?: boolean;
  readonly normed?: boolean;
  readonly packed?: boolean;
  readonly parameters?: RopeParameters;
  /** Small whole numbers everywhere, whose sums f16 holds. */
  readonly whole?: boolean;
}

const hidden = 32;

/** A layer up to its cache: three projections, optional norms, rotation, append. */
function layer(setup: Setup) {
  const { heads, kvHeads, dim, normed = false, packed = false, interleaved = false } = setup;
  const random = randomSource(dim + heads);
  const weights = new Map<Weight, number[]>();
  const weight = (name: string, shape: number[]) => {
    const made = new Weight({ name, shape, format: 'f32' });
    weights.set(
      made,
      Array.from({ length: shape.reduce((a, b) => a * b) }, () =>
        setup.whole ? random.integer(5) - 2 : Math.fround(random.normal() / 4),
      ),
    );
    return made;
  };
  const [wq, wk, wv] = [
    weight('q', [heads * dim, hidden]),
    weight('k', [kvHeads * dim, hidden]),
    weight('v', [kvHeads * dim, hidden]),
  ];
  const [gq, gk] = [weight('q norm', [dim]), weight('k norm', [dim])];
  const state = (name: string) =>
    new State({ name, shape: [200, kvHeads, packed ? dim / 2 : dim], dtype: packed ? 'u32' : 'f32' });
  const cache = { keys: state('keys'), values: state('values') };
  const frequencies = ropeFrequencies(
    setup.parameters ?? { type: 'default', theta: 10_000, rotaryWidth: setup.rotaryWidth ?? dim },
  );
  const body = (t: Readonly<Record<'x' | 'positions' | 'slots' | 'spans' | 'count', Tensor>>) => {
    const rows = t.x.shape[0]!;
    const turn = (projection: Weight, gain: Weight, count: number) => {
      const split = linear(t.x, projection).reshape([rows, count, dim]);
      return rope(normed ? rmsNorm(split, gain, { epsilon: 1e-6, offset: 1 }) : split, t.positions, frequencies, {
        spans: t.spans,
        interleaved,
      });
    };
    const q = turn(wq, gq, heads);
    appendKv(cache, turn(wk, gk, kvHeads), linear(t.x, wv).reshape([rows, kvHeads, dim]), t);
    return { q: q.mul(1) };
  };
  return { body, cache, weights };
}

const u32 = (data: readonly number[]) => ({ shape: [data.length], dtype: 'u32' as const, data });

function run(
  setup: Setup,
  rows: number,
  options: { fusion?: boolean; count?: number; read?: (graph: Graph) => void } = {},
) {
  const { body, weights } = layer(setup);
  return hold(device, {
    inputs: {
      x: { shape: [rows, hidden] },
      positions: u32(Array.from({ length: rows }, (_, i) => 3 + 1000 * i)),
      slots: u32(Array.from({ length: rows }, (_, i) => (i * 7 + 2) % 200)),
      spans: u32(Array.from({ length: rows }, (_, i) => 60 + i)),
      count: u32([options.count ?? rows]),
    },
    body,
    weights,
    upload: uploadFloats(weights),
    fusion: options.fusion ?? true,
    tolerance: 3e-6,
  });
}

const base: Setup = { heads: 4, kvHeads: 2, dim: 16 };
const setups: Record<string, Setup> = {
  'plain heads': base,
  'one head, width 2': { heads: 1, kvHeads: 1, dim: 2 },
  'a partial rotation of an odd width': { ...base, dim: 23, rotaryWidth: 10 },
  'neighbouring pairs': { ...base, interleaved: true },
  'normed heads': { ...base, normed: true },
  'normed heads of an odd width': { ...base, dim: 21, rotaryWidth: 20, normed: true },
  'speeds by length': {
    ...base,
    parameters: { type: 'dynamic', theta: 10_000, rotaryWidth: 16, factor: 2, maxPositions: 62, capacityTokens: 80 },
  },
};

describe('rope-append', () => {
  for (const [name, setup] of Object.entries(setups)) {
    it(`does in one dispatch what its parts do: ${name}`, async () => {
      for (const rows of [1, 7, 100]) {
        const parts = await run(setup, rows, { fusion: false });
        const fused = await run(setup, rows);
        // Three projections become one; norms, rotations and the append another.
        expect(parts.dispatches - fused.dispatches).toBe(2 + (setup.normed ? 4 : 2));
      }
    });
  }

  it('touches no slot for rows that are not in use', () => run({ ...base, normed: true }, 9, { count: 4 }));

  it('gives a row the same bits in any company', async () => {
    for (const setup of [base, { ...base, normed: true }]) {
      const { body, weights } = layer(setup);
      const random = randomSource(3);
      await holdRowsInvariant(device, {
        rows: {
          x: { shape: [hidden] },
          positions: { shape: [], dtype: 'u32', data: Array.from({ length: 64 }, () => random.integer(9999)) },
          slots: { shape: [], dtype: 'u32', data: Array.from({ length: 64 }, (_, i) => i) },
        },
        body: (t, graph) => {
          const { q } = body({ ...t, spans: t.positions, count: graph.constant(Uint32Array.of(t.x.shape[0]!)) });
          return { q };
        },
        weights,
        upload: uploadFloats(weights),
        tolerance: 3e-6,
      });
    }
  });

  it('packs keys and values as f16', async () => {
    for (const dim of [16, 18]) {
      const { body, weights } = layer({ ...base, dim, packed: true, whole: true });
      const random = randomSource(dim);
      const { dispatches } = await hold(device, {
        inputs: {
          x: { shape: [7, hidden], data: Array.from({ length: 7 * hidden }, () => random.integer(7) - 3) },
          positions: u32(Array.from({ length: 7 }, () => 0)),
          slots: u32([0, 9, 8, 7, 100, 199, 200]),
          spans: u32(Array.from({ length: 7 }, () => 1)),
          count: u32([7]),
        },
        body,
        weights,
        upload: uploadFloats(weights),
        tolerance: 0,
      });
      expect(dispatches).toBe(3);
    }
  });

  it('leaves queries alone that somebody else reads', async () => {
    const { body, weights } = layer(base);
    const { outputs } = await hold(device, {
      inputs: {
        x: { shape: [3, hidden] },
        positions: u32([5, 6, 7]),
        slots: u32([0, 1, 2]),
        spans: u32([1, 1, 1]),
        count: u32([3]),
      },
      body: (t, graph) => {
        const made = body(t);
        const product = graph.nodes.find(({ operation }) => operation.name === 'linear')!;
        return { ...made, raw: product.outputs[0]!.mul(2) };
      },
      weights,
      upload: uploadFloats(weights),
      tolerance: 3e-6,
    });
    expect(Object.keys(outputs)).toEqual(['q', 'raw']);
  });
});
