import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../graph/tensor.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { Weight } from '../../graph/weight.ts';
import type { HeldResult, PackedWeight } from '../../harness/index.ts';
import { hold, packedUpload, packRandomWeight, randomSource, testDevice } from '../../harness/index.ts';
import { rmsNorm } from '../rms-norm/rms-norm.ts';
import { linear } from './linear.ts';

const device = await testDevice();
const formats: readonly WeightFormat[] = ['f32', 'f16', 'bf16', 'q8', 'q4'];

/** Weights by name, `[N, K]` or `[D]`; vectors are f32. */
function pack<Names extends string>(format: WeightFormat, shapes: Readonly<Record<Names, readonly number[]>>) {
  const packed = Object.entries<readonly number[]>(shapes).map(([name, shape], i) =>
    packRandomWeight(new Weight({ name, shape, format: shape.length === 1 ? 'f32' : format }), randomSource(i + 1)),
  );
  const weights = Object.fromEntries(packed.map(({ weight }) => [weight.name, weight])) as Record<Names, Weight>;
  return { packed, weights };
}

/** Holds a body with and without fusion to its reference. */
async function holdBoth(
  packed: readonly PackedWeight[],
  shape: readonly number[],
  body: (x: Tensor) => Record<string, Tensor>,
): Promise<{ fused: HeldResult; plain: HeldResult }> {
  const held = {
    inputs: { x: { shape } },
    body: ({ x }: { x: Tensor }) => body(x),
    ...packedUpload(packed),
    tolerance: 4e-6,
  };
  return { fused: await hold(device, held), plain: await hold(device, { ...held, fusion: false }) };
}

function sameBits(a: HeldResult, b: HeldResult): boolean {
  return Object.entries(a.outputs).every(([name, values]) =>
    values.every((value, i) => Object.is(value, b.outputs[name]![i])),
  );
}

describe('fused linear', () => {
  for (const format of formats) {
    for (const [rows, width] of format === 'q4'
      ? ([
          [1, 64],
          [3, 63],
          [9, 100],
        ] as const)
      : ([[2, 100]] as const)) {
      it(`${format}: one dispatch for q, k and v behind a norm, ${rows} rows of ${width}`, async () => {
        const { packed, weights: w } = pack(format, {
          gain: [width],
          q: [24, width],
          k: [7, width],
          v: [9, width],
          bq: [24],
          bv: [9],
        });
        const { fused, plain } = await holdBoth(packed, [rows, width], (x) => {
          const normed = rmsNorm(x, w.gain, { epsilon: 1e-5 });
          return { q: linear(normed, w.q, w.bq), k: linear(normed, w.k), v: linear(normed, w.v, w.bv) };
        });
        expect(plain.dispatches).toBe(4);
        expect(fused.dispatches).toBeLessThanOrEqual(2);
      });

      it(`${format}: a gated unit with residual, ${rows} rows of ${width}`, async () => {
        const { packed, weights: w } = pack(format, {
          gain: [width],
          gate: [33, width],
          up: [33, width],
          down: [width, 33],
        });
        const { fused, plain } = await holdBoth(packed, [rows, width], (x) => {
          const normed = rmsNorm(x, w.gain, { epsilon: 1e-6, offset: 1 });
          const hidden = linear(normed, w.gate).silu().mul(linear(normed, w.up));
          return { y: x.add(linear(hidden, w.down)) };
        });
        expect(plain.dispatches).toBe(7);
        expect(fused.dispatches).toBeLessThanOrEqual(3);
      });
    }
  }

  it('gives the bits of the separate operations where no norm is fused', async () => {
    const { packed, weights: w } = pack('q4', {
      gate: [21, 96],
      up: [21, 96],
      down: [96, 21],
      bias: [96],
      q: [5, 96],
      k: [6, 96],
    });
    const { fused, plain } = await holdBoth(packed, [3, 96], (x) => ({
      q: linear(x, w.q),
      k: linear(x, w.k),
      y: linear(linear(x, w.up).mul(linear(x, w.gate).gelu()), w.down, w.bias).add(x),
    }));
    expect(sameBits(fused, plain)).toBe(true);
    expect([plain.dispatches, fused.dispatches]).toEqual([8, 3]);
  });

  it('fuses a norm into its matrices also where something else reads it, with the same bits', async () => {
    const { packed, weights: w } = pack('bf16', { gain: [64], head: [40, 64] });
    const run = (extra: boolean) =>
      hold(device, {
        inputs: { x: { shape: [2, 64] } },
        body: ({ x }) => {
          const normed = rmsNorm(x, w.gain, { epsilon: 1e-5 });
          return { y: linear(normed, w.head), ...(extra ? { normed } : {}) };
        },
        ...packedUpload(packed),
        tolerance: 2e-6,
      });
    const [alone, watched] = [await run(false), await run(true)];
    expect([...alone.outputs.y!]).toEqual([...watched.outputs.y!]);
  });

  it('leaves apart what others read in between', async () => {
    const { packed, weights: w } = pack('f32', { gate: [8, 16], up: [8, 16], down: [16, 8] });
    const { fused } = await holdBoth(packed, [2, 16], (x) => {
      const gate = linear(x, w.gate);
      const product = linear(gate.silu().mul(linear(x, w.up)), w.down);
      return { gate, product, y: product.add(x), z: x.add(x) };
    });
    expect(fused.dispatches).toBe(5);
  });

  it('keeps a norm of its own past the decode path, and groups there too', async () => {
    const { packed, weights: w } = pack('q8', { gain: [32], q: [8, 32], k: [4, 32] });
    const { fused } = await holdBoth(packed, [70, 32], (x) => {
      const normed = rmsNorm(x, w.gain, { epsilon: 1e-5 });
      return { q: linear(normed, w.q), k: linear(normed, w.k) };
    });
    expect(fused.dispatches).toBe(2);
  });

  it('fuses norms without a gain', async () => {
    const { packed, weights: w } = pack('q4', { q: [8, 40] });
    await holdBoth(packed, [2, 40], (x) => ({ q: linear(rmsNorm(x, undefined, { epsilon: 1e-5 }), w.q) }));
  });

  it('writes chains of elementwise operations into one', async () => {
    const { fused, plain } = await holdBoth([], [7, 9], (x) => ({
      y: x.mul(2).add(1).silu().mul(x).sub(x.abs().sqrt()),
    }));
    expect([plain.dispatches, fused.dispatches]).toEqual([7, 1]);
  });
});
