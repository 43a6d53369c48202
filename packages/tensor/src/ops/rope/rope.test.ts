import { describe, expect, it } from 'vitest';
import { ArgumentError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { hold, randomSource, testDevice } from '../../harness/index.ts';
import type { RopeFrequencies } from './frequencies.ts';
import { ropeFrequencies } from './frequencies.ts';
import type { RopeParameters } from './parameters.ts';
import { parseRope, RopeConfigError } from './parameters.ts';
import { rope } from './rope.ts';

const device = await testDevice();
const random = randomSource(5);

const plain = (rotaryWidth: number, theta = 10_000): RopeParameters => ({ type: 'default', theta, rotaryWidth });
const held = (shape: [number, number, number], frequencies: RopeFrequencies, interleaved = false) =>
  hold(device, {
    inputs: {
      x: { shape },
      positions: {
        shape: [shape[0]],
        dtype: 'u32',
        data: Array.from({ length: shape[0] }, (_, i) => (i === 0 ? 0 : random.integer(131_072))),
      },
      spans: { shape: [shape[0]], dtype: 'u32', data: Array.from({ length: shape[0] }, (_, i) => 60 + i) },
    },
    body: ({ x, positions, spans }) => ({ y: rope(x, positions, frequencies, { spans, interleaved }) }),
    tolerance: 3e-7,
  });

describe('rope', () => {
  for (const [shape, width] of [
    [[1, 1, 2], 2],
    [[3, 5, 64], 64],
    [[63, 2, 80], 32],
    [[7, 1, 129], 100],
  ] as const) {
    it(`turns ${width} of the elements of ${shape.join(' x ')}`, () => held([...shape], ropeFrequencies(plain(width))));
    it(`turns neighbours in ${shape.join(' x ')}`, () => held([...shape], ropeFrequencies(plain(width)), true));
  }

  it('keeps an absolute error below 1e-6 up to position 131,071', async () => {
    const positions = [0, 1, 2, 3, 511, 65_535, 99_999, 131_070, 131_071];
    const frequencies = ropeFrequencies(plain(128, 500_000));
    const { outputs } = await hold(device, {
      inputs: {
        x: {
          shape: [positions.length, 1, 128],
          data: Array.from({ length: positions.length * 128 }, (_, i) => (i % 128 < 64 ? 1 : 0)),
        },
        positions: { shape: [positions.length], dtype: 'u32', data: positions },
      },
      body: ({ x, positions: at }) => ({ y: rope(x, at, frequencies) }),
      tolerance: 1e-6,
    });
    let worst = 0;
    positions.forEach((position, row) => {
      frequencies.radians.forEach((speed, i) => {
        const off = [
          Math.cos(position * speed) - outputs['y']![row * 128 + i]!,
          Math.sin(position * speed) - outputs['y']![row * 128 + 64 + i]!,
        ];
        worst = Math.max(worst, ...off.map(Math.abs));
      });
    });
    expect(worst).toBeLessThan(1e-6);
  });

  it('takes the table of the length that a row adapts to', async () => {
    const long = {
      type: 'longrope',
      theta: 10_000,
      rotaryWidth: 8,
      factor: 4,
      originalMaxPositions: 64,
      shortFactors: [1, 1, 1, 1],
      longFactors: [1, 2, 3, 4],
    } as const;
    await held([9, 2, 8], ropeFrequencies(long));
    await held(
      [9, 2, 8],
      ropeFrequencies({ ...plain(8), type: 'dynamic', factor: 3, maxPositions: 62, capacityTokens: 66 }),
    );
  });

  it('gives a row the same bits in any company', async () => {
    const frequencies = ropeFrequencies(plain(64));
    const x = Array.from({ length: 64 * 3 * 64 }, () => random.normal());
    const positions = Array.from({ length: 64 }, () => random.integer(4096));
    const rowsOf = async (order: readonly number[]) => {
      const { outputs } = await hold(device, {
        inputs: {
          x: { shape: [order.length, 3, 64], data: order.flatMap((row) => x.slice(row * 192, row * 192 + 192)) },
          positions: { shape: [order.length], dtype: 'u32', data: order.map((row) => positions[row]!) },
        },
        body: (inputs) => ({ y: rope(inputs.x, inputs.positions, frequencies) }),
        tolerance: 3e-7,
      });
      return outputs['y']!;
    };
    const alone = await rowsOf([5]);
    for (const width of [2, 3, 7, 8, 16, 33, 64]) {
      const order = Array.from({ length: width }, (_, i) => (5 + 63 * (i + 1)) % 64);
      order[width - 1] = 5;
      expect((await rowsOf(order)).slice(-192)).toEqual(alone);
    }
  });

  it('refuses what does not fit', () => {
    trace((graph) => {
      const positions = graph.input('positions', [4], 'u32');
      const frequencies = ropeFrequencies(plain(16));
      expect(() => rope(graph.input('a', [4, 2, 8]), positions, frequencies)).toThrow(ShapeError);
      expect(() => rope(graph.input('b', [5, 2, 16]), positions, frequencies)).toThrow(ShapeError);
      const dynamic = ropeFrequencies({
        ...plain(16),
        type: 'dynamic',
        factor: 2,
        maxPositions: 8,
        capacityTokens: 16,
      });
      expect(() => rope(graph.input('c', [4, 2, 16]), positions, dynamic)).toThrow(ArgumentError);
    });
  });
});

describe('parseRope', () => {
  const options = { headDim: 16 };

  it('refuses unknown types, missing fields and wrong lengths', () => {
    const refused = [
      { rope_scaling: { type: 'spiral', factor: 2 } },
      { rope_scaling: { rope_type: 'linear' } },
      { rope_scaling: { rope_type: 'linear', factor: '2' } },
      {
        rope_scaling: { rope_type: 'llama3', factor: 2, low_freq_factor: 4, high_freq_factor: 1 },
        max_position_embeddings: 64,
      },
      { rope_scaling: { type: 'longrope', short_factor: [1], long_factor: [1] }, max_position_embeddings: 64 },
      { rope_parameters: { rope_type: 'dynamic', factor: 2 } },
      { rope_parameters: 'yarn' },
      { rope_theta: -1 },
      { rope_parameters: { full_attention: { rope_type: 'default' } } },
      { partial_rotary_factor: 0.01 },
    ];
    for (const config of refused)
      expect(() => parseRope(config, options), JSON.stringify(config)).toThrow(RopeConfigError);
  });

  it('reads an entry for each layer type', () => {
    const nested = {
      sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
      full_attention: { rope_type: 'linear', rope_theta: 1e6, factor: 8 },
    };
    const read = (layerType: string) => parseRope({ rope_parameters: nested }, { ...options, layerType });
    expect(read('full_attention')).toEqual({ type: 'linear', theta: 1e6, rotaryWidth: 16, factor: 8 });
    expect(read('sliding_attention')).toEqual({ type: 'default', theta: 1e4, rotaryWidth: 16 });
  });
});
