import { describe, expect, it } from 'vitest';
import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { Weight } from '../../graph/weight.ts';
import { hold, packedUpload, packRandomWeight, randomSource, testDevice } from '../../harness/index.ts';
import { linear } from './linear.ts';

const device = await testDevice();
const formats: readonly WeightFormat[] = ['f32', 'f16', 'bf16', 'q8', 'q4'];

function weightOf(format: WeightFormat, shape: readonly number[], seed = 3) {
  return packRandomWeight(new Weight({ name: `w ${format}`, shape, format }), randomSource(seed));
}

describe('linear', () => {
  for (const format of formats) {
    for (const [rows, outputs, width] of [
      [1, 1, 1],
      [2, 63, 100],
      [3, 7, 63],
      [1, 100, 32],
      [5, 33, 96],
      [1, 5, 1000],
    ] as const) {
      it(`${format} [${rows}, ${width}] by [${outputs}, ${width}]`, async () => {
        const packed = weightOf(format, [outputs, width]);
        await hold(device, {
          inputs: { x: { shape: [rows, width] } },
          body: ({ x }) => ({ y: linear(x, packed.weight) }),
          ...packedUpload([packed]),
          tolerance: 2e-6,
        });
      });
    }
  }

  for (const [format, width] of [
    ['q4_1', 96],
    ['q5_0', 96],
    ['q5_1', 32],
    ['q4_k', 256],
    ['q5_k', 512],
    ['q6_k', 768],
  ] as const) {
    for (const [rows, outputs] of [
      [1, 63],
      [3, 7],
    ] as const) {
      it(`${format} [${rows}, ${width}] by [${outputs}, ${width}]`, async () => {
        const packed = weightOf(format, [outputs, width]);
        await hold(device, {
          inputs: { x: { shape: [rows, width] } },
          body: ({ x }) => ({ y: linear(x, packed.weight) }),
          ...packedUpload([packed]),
          tolerance: 2e-6,
        });
      });
    }
  }

  it('reads nothing but whole blocks in the formats of GGUF', () => {
    expect(() => new Weight({ name: 'w', shape: [4, 255], format: 'q6_k' })).toThrow(ArgumentError);
    expect(() => new Weight({ name: 'w', shape: [4, 48], format: 'q5_0' })).toThrow(ArgumentError);
  });

  it('adds a bias and keeps leading dimensions', async () => {
    const packed = [
      weightOf('q4', [45, 70]),
      packRandomWeight(new Weight({ name: 'b', shape: [45], format: 'f32' }), randomSource(9)),
    ];
    await hold(device, {
      inputs: { x: { shape: [2, 3, 70] } },
      body: ({ x }) => ({ y: linear(x, packed[0]!.weight, packed[1]!.weight) }),
      ...packedUpload(packed),
      tolerance: 2e-6,
    });
  });

  it('refuses operands that do not fit', () => {
    const weight = new Weight({ name: 'w', shape: [4, 8], format: 'f32' });
    trace((graph) => {
      expect(() => linear(graph.input('a', [2, 7]), weight)).toThrow(ShapeError);
      expect(() => linear(graph.input('b', [2, 8], 'u32'), weight)).toThrow(DTypeError);
      const x = graph.input('c', [2, 8]);
      expect(() => linear(x, weight, new Weight({ name: 'b', shape: [5], format: 'f32' }))).toThrow(ShapeError);
      expect(() => linear(x, weight, new Weight({ name: 'b', shape: [4], format: 'bf16' }))).toThrow(DTypeError);
      expect(() => linear(x, new Weight({ name: 'v', shape: [8], format: 'f32' }))).toThrow(ShapeError);
    });
  });
});
