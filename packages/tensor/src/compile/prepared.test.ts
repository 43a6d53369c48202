/** Layers of a decoder in the kernels that hardware takes: nothing is prepared by dispatches of its own, and no bit follows from the width. */
import { describe, expect, it } from 'vitest';
import { Device } from '../device/device.ts';
import { trace } from '../graph/graph.ts';
import { State } from '../graph/state.ts';
import type { Tensor } from '../graph/tensor.ts';
import { Weight } from '../graph/weight.ts';
import { hold, packedUpload, packRandomWeight, randomSource, testDevice } from '../harness/index.ts';
import { appendKv } from '../ops/append/append.ts';
import { attention } from '../ops/attention/attention.ts';
import { linear } from '../ops/linear/linear.ts';
import { rmsNorm } from '../ops/rms-norm/rms-norm.ts';
import { ropeFrequencies } from '../ops/rope/frequencies.ts';
import { rope } from '../ops/rope/rope.ts';
import { WeightStore } from '../run/weight-store.ts';
import { liveNodes } from './canonicalise.ts';
import { fuse } from './fuse.ts';
import { lower } from './lower.ts';
import type { Arithmetic } from './lowering.ts';

const device = await testDevice();
const packedProducts = 'packed_4x8_integer_dot_product';
/** The same device, taken for hardware. */
const hardware = new Device(
  device.gpu,
  { ...device.adapter, kind: 'hardware' },
  { language: new Set(device.hasLanguage(packedProducts) ? [packedProducts] : []) },
);
// A software adapter with f16 compiles slowly, and the others run on one without.
const slow = device.adapter.kind === 'software' && device.has('shader-f16');
const able: Readonly<Record<Arithmetic, boolean>> = {
  f32: !slow,
  f16: device.has('shader-f16'),
  i8: !slow && device.hasLanguage(packedProducts),
};
const tolerances: Readonly<Record<Arithmetic, number>> = { f32: 1e-5, f16: 1e-2, i8: 5e-2 };
for (const [name, has] of Object.entries(able)) if (!has) console.info(`Not run here: prepared rows in ${name}.`);

const [heads, kvHeads, dim, positions] = [4, 2, 128, 40] as const;
const width = heads * dim;
const frequencies = ropeFrequencies({ type: 'default', theta: 10_000, rotaryWidth: dim });

/** Widths whose rows are prepared, by one chunk of rows and by several; software compiles kernels slowly. */
const widths = slow ? [3] : [3, 9];

type Row = 'positions' | 'slots' | 'count' | 'depths' | 'length';

/** One layer over a cache of its own, which it writes if `appends`. */
function layerOf(name: string, { appends, inner = width }: { appends: boolean; inner?: number }) {
  const weights: Weight[] = [];
  const weight = (part: string, shape: readonly number[]) => {
    const made = new Weight({ name: `${name} ${part}`, shape, format: shape.length === 1 ? 'f32' : 'q4' });
    weights.push(made);
    return made;
  };
  const [n1, n2, nq] = [weight('n1', [width]), weight('n2', [width]), weight('nq', [dim])];
  const q = weight('q', [width, width]);
  const [o, gate, up, down] = [
    weight('o', [width, width]),
    weight('gate', [inner, width]),
    weight('up', [inner, width]),
    weight('down', [width, inner]),
  ];
  const state = (part: string) =>
    new State({ name: `${name} ${part}`, shape: [positions, kvHeads, dim], dtype: 'f32' });
  const cache = { keys: state('keys'), values: state('values') };
  const apply = (x: Tensor, t: Readonly<Record<Row, Tensor>>): Tensor => {
    const rows = x.shape[0]!;
    const epsilon = 1e-6;
    const normed = rmsNorm(x, n1, { epsilon });
    const turned = (of: Weight, gain: Weight, count: number) =>
      rope(rmsNorm(linear(normed, of).reshape([rows, count, dim]), gain, { epsilon }), t.positions, frequencies);
    const queries = turned(q, nq, heads);
    if (appends) {
      const [k, v] = [weight('k', [kvHeads * dim, width]), weight('v', [kvHeads * dim, width])];
      const values = linear(normed, v).reshape([rows, kvHeads, dim]);
      appendKv(cache, turned(k, weight('nk', [dim]), kvHeads), values, t);
    }
    const attended = attention(queries, cache, t, { scale: dim ** -0.5 }).reshape([rows, width]);
    const h = x.add(linear(attended, o));
    const second = rmsNorm(h, n2, { epsilon });
    return h.add(linear(linear(second, gate).silu().mul(linear(second, up)), down));
  };
  return { apply, cache, weights };
}

/** Kernels of a program of some layers, by what is asked of a device that is never run. */
function kernels(layers: number, rows: number, arithmetic: Arithmetic): string[] {
  const graph = trace((traced) => {
    const input = (name: string, shape: readonly number[]) => traced.input(name, shape, 'u32');
    const t = {
      positions: input('positions', [rows]),
      slots: input('slots', [rows]),
      depths: input('depths', [rows]),
      count: input('count', [1]),
      length: input('length', [1]),
    };
    let x = traced.input('x', [rows, width]);
    for (let i = 0; i < layers; i++) x = layerOf(`layer ${i}`, { appends: true }).apply(x, t);
    traced.output('y', x);
  });
  const weights = new WeightStore(hardware);
  const nodes = fuse(graph, liveNodes(graph), { weights });
  return lower(graph, nodes, { device: hardware, weights, arithmetic }).dispatches.map(({ kernel }) => kernel.name);
}

describe('prepared rows', () => {
  for (const arithmetic of ['f32', 'f16', 'i8'] as const) {
    it(`${arithmetic}: a layer is 7 dispatches at every width of the decode path`, () => {
      for (const rows of [1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 64]) {
        const [one, two] = [kernels(1, rows, arithmetic), kernels(2, rows, arithmetic)];
        expect(two.length - one.length, `${rows} rows: ${two.join(', ')}`).toBe(7);
        // What makes the first layer's input is no kernel of the program.
        expect(two.filter((name) => name.startsWith('prepare-')).length).toBe(rows > 2 ? 1 : 0);
      }
    });
  }

  for (const arithmetic of (['f32', 'f16', 'i8'] as const).filter((name) => able[name])) {
    it(`${arithmetic}: a layer agrees with its reference, and its rows have the bits of rows alone`, async () => {
      const { apply, cache, weights } = layerOf('layer', { appends: false, inner: width + 64 });
      const random = randomSource(5);
      const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
      const table = normals(64 * width);
      const states = new Map([cache.keys, cache.values].map((state) => [state, normals(positions * kvHeads * dim)]));
      const upload = packedUpload(weights.map((weight, i) => packRandomWeight(weight, randomSource(i + 1))));
      const run = async (rows: readonly number[]) => {
        const u32 = (data: readonly number[]) => ({ shape: [data.length], dtype: 'u32' as const, data });
        const { outputs } = await hold(hardware, {
          inputs: {
            x: {
              shape: [rows.length, width],
              data: rows.flatMap((row) => [...table.subarray(row * width, (row + 1) * width)]),
            },
            positions: u32(rows.map((row) => row % positions)),
            depths: u32(rows.map((row) => (row * 7) % positions)),
            count: u32([rows.length]),
            length: u32([positions]),
          },
          body: ({ x, ...t }) => ({ y: apply(x, { ...t, slots: t.positions }) }),
          ...upload,
          states,
          tolerance: tolerances[arithmetic],
          arithmetic,
        });
        return outputs.y!;
      };
      const alone = [...(await run([63]))];
      for (const rows of widths) {
        const among = await run(Array.from({ length: rows }, (_, i) => 64 - rows + i));
        expect([...among.subarray((rows - 1) * width)], `${rows} rows`).toEqual(alone);
      }
    });

    it(`${arithmetic}: rows that are read otherwise too are also written as they are, with the same bits`, async () => {
      const packed = ['a', 'b', 'c'].map((name, i) =>
        packRandomWeight(new Weight({ name, shape: [width, width], format: 'q4' }), randomSource(i + 1)),
      );
      const [a, b, c] = packed.map(({ weight }) => weight) as [Weight, Weight, Weight];
      const run = (watched: boolean) =>
        hold(hardware, {
          inputs: { x: { shape: [3, width] } },
          body: ({ x }) => {
            const h = linear(x, a);
            const other = linear(h, b);
            return { y: linear(other, c), ...(watched ? { h, twice: other.mul(2) } : {}) };
          },
          ...packedUpload(packed),
          tolerance: 2 * tolerances[arithmetic],
          arithmetic,
        });
      const [alone, watched] = [await run(false), await run(true)];
      expect([alone.dispatches, watched.dispatches]).toEqual([4, 5]);
      expect([...alone.outputs.y!]).toEqual([...watched.outputs.y!]);
    });
  }
});
