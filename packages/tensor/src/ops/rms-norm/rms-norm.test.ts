import { describe, expect, it } from 'vitest';
import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { Weight } from '../../graph/weight.ts';
import { hold, holdRowsInvariant, randomSource, testDevice, uploadFloats } from '../../harness/index.ts';
import { rmsNorm } from './rms-norm.ts';

const device = await testDevice();

function vector(width: number): { weight: Weight; weights: Map<Weight, number[]> } {
  const random = randomSource(width);
  const weight = new Weight({ name: 'norm.weight', shape: [width], format: 'f32' });
  return { weight, weights: new Map([[weight, Array.from({ length: width }, () => Math.fround(random.normal()))]]) };
}

describe('rmsNorm', () => {
  for (const width of [1, 63, 100, 1000, 4097]) {
    it(`norms rows of ${width}, with and without a weight`, async () => {
      const { weight, weights } = vector(width);
      await hold(device, {
        inputs: { x: { shape: [2, 3, width] } },
        body: ({ x }) => ({
          plain: rmsNorm(x, undefined, { epsilon: 1e-5 }),
          scaled: rmsNorm(x, weight, { epsilon: 1e-6 }),
          raised: rmsNorm(x.mul(100), weight, { epsilon: 1e-6, offset: 1 }),
        }),
        weights,
        upload: uploadFloats(weights),
        tolerance: 1e-6,
      });
    });
  }

  it('is carried by epsilon where a row is zero', async () => {
    const zeros = Array.from({ length: 8 }, () => 0);
    const { outputs } = await hold(device, {
      inputs: { x: { shape: [1, 8], data: zeros } },
      body: ({ x }) => ({ y: rmsNorm(x, undefined, { epsilon: 1e-6 }) }),
      tolerance: 0,
    });
    expect([...outputs.y!]).toEqual(zeros);
  });

  it('gives a row the same bits in any company', async () => {
    const { weight, weights } = vector(300);
    await holdRowsInvariant(device, {
      rows: { x: { shape: [300] } },
      body: ({ x }) => ({ y: rmsNorm(x, weight, { epsilon: 1e-6 }) }),
      weights,
      upload: uploadFloats(weights),
      tolerance: 1e-6,
    });
  });

  it.each([
    ['a scalar', ShapeError, { shape: [], dtype: 'f32', width: 4, epsilon: 1e-6 }],
    ['another width', ShapeError, { shape: [2, 5], dtype: 'f32', width: 4, epsilon: 1e-6 }],
    ['integers', DTypeError, { shape: [2, 4], dtype: 'u32', width: 4, epsilon: 1e-6 }],
    ['a negative epsilon', ArgumentError, { shape: [2, 4], dtype: 'f32', width: 4, epsilon: -1 }],
    ['no epsilon', ArgumentError, { shape: [2, 4], dtype: 'f32', width: 4, epsilon: NaN }],
  ] as const)('refuses %s', (_, error, { shape, dtype, width, epsilon }) => {
    const { weight } = vector(width);
    expect(() => trace((graph) => void rmsNorm(graph.input('x', shape, dtype), weight, { epsilon }))).toThrow(error);
  });

  it('refuses a weight that is not in f32', () => {
    const weight = new Weight({ name: 'norm.weight', shape: [4], format: 'bf16' });
    expect(() => trace((graph) => void rmsNorm(graph.input('x', [2, 4]), weight, { epsilon: 1e-6 }))).toThrow(
      DTypeError,
    );
  });
});
