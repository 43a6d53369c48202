import { describe, expect, it } from 'vitest';
import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { Weight } from '../../graph/weight.ts';
import { hold, holdRowsInvariant, randomSource, testDevice, uploadFloats } from '../../harness/index.ts';
import { layerNorm } from './layer-norm.ts';

const device = await testDevice();

function vectors(width: number): { weight: Weight; bias: Weight; weights: Map<Weight, number[]> } {
  const random = randomSource(width);
  const values = () => Array.from({ length: width }, () => Math.fround(random.normal()));
  const weight = new Weight({ name: 'norm.weight', shape: [width], format: 'f32' });
  const bias = new Weight({ name: 'norm.bias', shape: [width], format: 'f32' });
  return {
    weight,
    bias,
    weights: new Map([
      [weight, values()],
      [bias, values()],
    ]),
  };
}

describe('layerNorm', () => {
  for (const width of [1, 63, 100, 1000, 4097]) {
    it(`norms rows of ${width}, with and without weight and bias`, async () => {
      const { weight, bias, weights } = vectors(width);
      await hold(device, {
        inputs: { x: { shape: [2, 3, width] } },
        body: ({ x }) => ({
          plain: layerNorm(x, undefined, undefined, { epsilon: 1e-5 }),
          scaled: layerNorm(x, weight, undefined, { epsilon: 1e-5 }),
          shifted: layerNorm(x, weight, bias, { epsilon: 1e-6 }),
        }),
        weights,
        upload: uploadFloats(weights),
        tolerance: 2e-6,
      });
    });
  }

  it('keeps its digits where the mean is far from zero', async () => {
    const random = randomSource(3);
    await hold(device, {
      inputs: { x: { shape: [3, 500], data: Array.from({ length: 1500 }, () => 1000 + random.normal()) } },
      body: ({ x }) => ({ y: layerNorm(x, undefined, undefined, { epsilon: 1e-5 }) }),
      tolerance: 1e-4,
    });
  });

  it('gives a row the same bits in any company', async () => {
    const { weight, bias, weights } = vectors(300);
    await holdRowsInvariant(device, {
      rows: { x: { shape: [300] } },
      body: ({ x }) => ({ y: layerNorm(x, weight, bias, { epsilon: 1e-6 }) }),
      weights,
      upload: uploadFloats(weights),
      tolerance: 2e-6,
    });
  });

  it.each([
    ['a scalar', ShapeError, { shape: [], dtype: 'f32', epsilon: 1e-6 }],
    ['another width', ShapeError, { shape: [2, 5], dtype: 'f32', epsilon: 1e-6 }],
    ['integers', DTypeError, { shape: [2, 4], dtype: 'i32', epsilon: 1e-6 }],
    ['an infinite epsilon', ArgumentError, { shape: [2, 4], dtype: 'f32', epsilon: Infinity }],
  ] as const)('refuses %s', (_, error, { shape, dtype, epsilon }) => {
    const { weight, bias } = vectors(4);
    expect(() => trace((graph) => void layerNorm(graph.input('x', shape, dtype), weight, bias, { epsilon }))).toThrow(
      error,
    );
  });

  it('refuses a bias without a weight', () => {
    const { bias } = vectors(4);
    expect(() => trace((graph) => void layerNorm(graph.input('x', [4]), undefined, bias, { epsilon: 1e-6 }))).toThrow(
      ArgumentError,
    );
  });
});
