import { describe, expect, it } from 'vitest';
import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import { Weight } from '../../graph/weight.ts';
import { hold, invariantWidths, randomSource, testDevice, uploadFloats } from '../../harness/index.ts';
import { shortConvolution } from './short-convolution.ts';

const device = await testDevice();

function parts(width: number, taps: number, ringRows: number) {
  const random = randomSource(width + taps);
  const values = (count: number) => Array.from({ length: count }, () => Math.fround(random.normal()));
  const weight = new Weight({ name: 'conv.weight', shape: [width, 1, taps], format: 'f32' });
  const bias = new Weight({ name: 'conv.bias', shape: [width], format: 'f32' });
  const inputs = new State({ name: 'record', shape: [ringRows + 3, width], dtype: 'f32' });
  const weights = new Map([
    [weight, values(width * taps)],
    [bias, values(width)],
  ]);
  return { weight, bias, record: { inputs, ringRows }, weights, filled: values((ringRows + 3) * width), values };
}

/** Runs rows `from ..< from + x.length / width` of a sequence on a record. */
async function run(
  { weight, bias, record, weights }: ReturnType<typeof parts>,
  one: { x: readonly number[]; from: number; count?: number; recorded: ArrayLike<number>; biased?: boolean },
) {
  const width = weight.shape[0]!;
  const M = one.x.length / width;
  const { outputs, states } = await hold(device, {
    inputs: {
      x: { shape: [M, width], data: one.x },
      length: { shape: [1], dtype: 'u32', data: [one.from] },
      count: { shape: [1], dtype: 'u32', data: [one.count ?? M] },
    },
    body: ({ x, length, count }) => ({
      y: shortConvolution(x, weight, record, { length, count, bias: one.biased ? bias : undefined }),
    }),
    states: new Map([[record.inputs, one.recorded]]),
    weights,
    upload: uploadFloats(weights),
    tolerance: 1e-6,
  });
  return { y: outputs['y'] as Float32Array, record: states.get(record.inputs) as Float32Array };
}

describe('shortConvolution', () => {
  it.each([
    [1, 1, 1],
    [63, 3, 2],
    [100, 4, 7],
    [1000, 2, 64],
    [5, 9, 30],
  ])('over %d channels with %d taps and a ring of %d', async (width, taps, ringRows) => {
    const one = parts(width, taps, ringRows);
    for (const [M, from, count] of [
      [1, 0, 1],
      [3, 1, 3],
      [5, 17, 2],
      [13, 40, 13],
    ] as const) {
      await run(one, { x: one.values(M * width), from, count, recorded: one.filled, biased: M !== 3 });
    }
  });

  it('gives a row the same bits however the sequence is cut, and records the same', async () => {
    const [width, taps, ringRows] = [20, 4, 70];
    const one = parts(width, taps, ringRows);
    const sequence = one.values(128 * width);
    const pass = async (sizes: readonly number[]) => {
      let recorded: ArrayLike<number> = new Float32Array((ringRows + 3) * width);
      const rows: number[] = [];
      for (let at = 0, turn = 0; at < 128; turn++) {
        const size = Math.min(sizes[turn % sizes.length]!, 128 - at);
        const out = await run(one, { x: sequence.slice(at * width, (at + size) * width), from: at, recorded });
        rows.push(...out.y);
        recorded = out.record;
        at += size;
      }
      return { rows, recorded: Array.from(recorded) };
    };
    const alone = await pass([1]);
    for (const size of invariantWidths) expect(await pass([size, 1])).toEqual(alone);
    expect((await pass([128])).rows).toEqual(alone.rows);
  });

  it('takes rejected rows back by a smaller length', async () => {
    const [width, taps] = [6, 3];
    const one = parts(width, taps, 12);
    const empty = new Float32Array(15 * width);
    const kept = one.values(4 * width);
    const rejected = one.values(8 * width);
    const next = one.values(2 * width);
    const before = await run(one, { x: kept, from: 0, recorded: empty });
    const wide = await run(one, { x: rejected, from: 4, recorded: before.record });
    const after = await run(one, { x: next, from: 4, recorded: wide.record });
    expect(after.y).toEqual((await run(one, { x: next, from: 4, recorded: before.record })).y);
  });

  it('refuses what does not fit', () => {
    const { weight, record } = parts(4, 3, 8);
    const apply = (shape: readonly number[], change: Partial<typeof record> = {}, format: 'f32' | 'f16' = 'f32') =>
      trace((graph) => {
        const taps = new Weight({ name: weight.name, shape: weight.shape, format });
        const at = { length: graph.input('length', [1], 'u32'), count: graph.input('count', [1], 'u32') };
        shortConvolution(graph.input('x', shape), taps, { ...record, ...change }, at);
      });
    expect(() => apply([2, 5])).toThrow(ShapeError);
    expect(() => apply([2, 3, 4])).toThrow(ShapeError);
    expect(() => apply([2, 4], { ringRows: 1 })).toThrow(ArgumentError);
    expect(() => apply([2, 4], { ringRows: 12 })).toThrow(ArgumentError);
    expect(() => apply([2, 4], {}, 'f16')).toThrow(DTypeError);
  });
});
