import { describe, expect, it } from 'vitest';
import { compile } from '../compile/compile.ts';
import { ArgumentError } from '../errors.ts';
import { trace } from '../graph/graph.ts';
import type { WeightFormat } from '../graph/weight.ts';
import { Weight } from '../graph/weight.ts';
import { testDevice } from '../harness/index.ts';
import { embedding } from '../ops/embedding/embedding.ts';
import { Commands } from './commands.ts';
import { fillRandom } from './random-weights.ts';
import { WeightStore } from './weight-store.ts';

const device = await testDevice();

async function filled(format: WeightFormat, seed: number, width = 100): Promise<Float32Array> {
  const weight = new Weight({ name: 'w', shape: [64, width], format });
  const graph = trace((traced) => traced.output('y', embedding(weight, traced.input('tokens', [64], 'u32'))));
  const store = new WeightStore(device, { bindingBytes: 8192 });
  const program = await compile(graph, { device, name: 'read back', weights: store });
  store.allocate();
  await fillRandom(store, { seed });
  program.write(
    'tokens',
    Uint32Array.from({ length: 64 }, (_, row) => row),
  );
  const commands = new Commands(device).run(program);
  const y = commands.read(program, 'y');
  commands.submit();
  const values = (await y) as Float32Array;
  store.destroy();
  return values;
}

const blocked = ['q4_1', 'q5_0', 'q5_1', 'q4_k', 'q5_k', 'q6_k'] as const;

describe('fillRandom', () => {
  for (const format of blocked) {
    it(`gives ${format} weights, which are blocks, the size that was asked for`, async () => {
      const values = await filled(format, 1, 512);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
      expect(Math.abs(mean)).toBeLessThan(deviation / 25);
      expect(deviation).toBeGreaterThan(0.035);
      expect(deviation).toBeLessThan(0.06);
    });
  }

  for (const format of ['f32', 'f16', 'bf16', 'q8', 'q4'] as const) {
    it(`gives ${format} weights the size that was asked for, and the same ones for the same seed`, async () => {
      const values = await filled(format, 1, 512);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
      // Values of q4 lie around half a code below 0, a tenth of their deviation, so the signs of scales have to differ.
      expect(Math.abs(mean)).toBeLessThan(deviation / 25);
      expect(deviation).toBeGreaterThan(0.035);
      expect(deviation).toBeLessThan(0.055);
      expect(await filled(format, 1, 512)).toEqual(values);
      expect(await filled(format, 2, 512)).not.toEqual(values);
    });
  }

  it('refuses seeds and scales that are none', async () => {
    const store = new WeightStore(device);
    await expect(fillRandom(store, { seed: -1 })).rejects.toThrow(ArgumentError);
    await expect(fillRandom(store, { seed: 1, scale: Number.NaN })).rejects.toThrow(ArgumentError);
  });
});
