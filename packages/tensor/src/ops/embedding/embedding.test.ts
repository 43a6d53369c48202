import { describe, expect, it } from 'vitest';
import { DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { Weight } from '../../graph/weight.ts';
import { hold, packedUpload, packRandomWeight, randomSource, testDevice } from '../../harness/index.ts';
import { embedding } from './embedding.ts';

const device = await testDevice();
const formats: readonly WeightFormat[] = ['f32', 'f16', 'bf16', 'q8', 'q4'];

describe('embedding', () => {
  const blocked = ['q4_1', 'q5_0', 'q5_1', 'q4_k', 'q5_k', 'q6_k'] as const;
  for (const format of [...formats, ...blocked]) {
    for (const width of formats.includes(format) ? [1, 63, 64, 100, 1000] : [256, 768]) {
      it(`looks up rows of ${width} values in ${format}; past the table it gives zeros`, async () => {
        const packed = packRandomWeight(new Weight({ name: 'table', shape: [37, width], format }), randomSource(5));
        const { outputs } = await hold(device, {
          inputs: { tokens: { shape: [6], dtype: 'u32', data: [36, 0, 17, 17, 37, 0xffff_ffff] } },
          body: ({ tokens }) => ({ y: embedding(packed.weight, tokens) }),
          ...packedUpload([packed]),
          tolerance: 1e-7,
        });
        expect(outputs.y!.slice(4 * width).every((value) => value === 0)).toBe(true);
      });
    }
  }

  it('refuses what is no table and what are no tokens', () => {
    trace((graph) => {
      const table = new Weight({ name: 'table', shape: [4, 8], format: 'f32' });
      expect(() => embedding(table, graph.input('a', [2]))).toThrow(DTypeError);
      expect(() =>
        embedding(new Weight({ name: 'v', shape: [8], format: 'f32' }), graph.input('b', [2], 'u32')),
      ).toThrow(ShapeError);
    });
  });
});
