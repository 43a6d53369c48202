import { describe, expect, it } from 'vitest';
import { ArgumentError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import { hold, testDevice } from '../../harness/index.ts';
import { packSampling, samplingWords } from '../sample/settings.ts';
import { gumbelNoise, uniformNoise } from './noise.ts';
import { gumbelOf, philox, uniformOf } from './noise.reference.ts';

const device = await testDevice();
const settings = new State({ name: 'settings', shape: [samplingWords], dtype: 'u32' });
const seeded = (seed: number) => new Map([[settings, packSampling({ seed })]]);

describe('philox', () => {
  it('gives the published answers of Philox 4x32-10', () => {
    const all = 0xffff_ffff;
    expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    expect(philox([all, all, all, all], [all, all])).toEqual([0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    expect(philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0])).toEqual([
      0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1,
    ]);
  });

  it('keeps noise finite at both ends', () => {
    for (const word of [0, 1, 0x1fff_ffff, 0x2000_0000, 0xffff_fffe, 0xffff_ffff]) {
      expect(Number.isFinite(gumbelOf(word))).toBe(true);
      expect(uniformOf(word)).toBeLessThan(1);
    }
  });
});

describe('gumbelNoise', () => {
  for (const [rows, width] of [
    [1, 1],
    [3, 63],
    [2, 1000],
    [33, 17],
  ] as const) {
    it(`computes [${rows}, ${width}] as float64 does`, async () => {
      await hold(device, {
        inputs: { p: { shape: [rows], dtype: 'u32', data: Array.from({ length: rows }, (_, i) => i * 977) } },
        body: ({ p }) => ({
          target: gumbelNoise(p, { settings, vocabSize: width, stream: 0 }),
          draft: gumbelNoise(p, { settings, vocabSize: width, stream: 1 }),
        }),
        states: seeded(2 ** 40 + 12_345),
        tolerance: 2e-6,
      });
    });
  }

  it('does not depend on the rows beside it, and differs by position, seed and stream', async () => {
    const at = async (positions: number[], seed: number, stream: number) => {
      const { outputs } = await hold(device, {
        inputs: { p: { shape: [positions.length], dtype: 'u32', data: positions } },
        body: ({ p }) => ({ y: gumbelNoise(p, { settings, vocabSize: 30, stream }) }),
        states: seeded(seed),
        tolerance: 2e-6,
      });
      return new Uint32Array(outputs.y!.buffer);
    };
    const alone = await at([7], 5, 0);
    const among = await at([9, 7, 7, 8], 5, 0);
    expect(among.slice(30, 60)).toEqual(alone);
    expect(among.slice(60, 90)).toEqual(alone);
    expect(among.slice(0, 30)).not.toEqual(alone);
    expect(await at([7], 6, 0)).not.toEqual(alone);
    expect(await at([7], 5 + 2 ** 32, 0)).not.toEqual(alone);
    expect(await at([7], 5, 2)).not.toEqual(alone);
  });
});

describe('uniformNoise', () => {
  it('gives the very same numbers as float64, below 1', async () => {
    const { outputs } = await hold(device, {
      inputs: {
        p: { shape: [1000], dtype: 'u32', data: Array.from({ length: 1000 }, (_, i) => i % 7) },
        i: { shape: [1000], dtype: 'u32', data: Array.from({ length: 1000 }, (_, i) => i) },
      },
      body: ({ p, i }) => ({ y: uniformNoise(p, i, { settings, stream: 2 }) }),
      states: seeded(1),
      tolerance: 0,
    });
    expect(Math.max(...outputs.y!)).toBeLessThan(1);
    expect(Math.min(...outputs.y!)).toBeGreaterThanOrEqual(0);
  });

  it('refuses what it cannot read', () => {
    const small = new State({ name: 'small', shape: [4], dtype: 'u32' });
    trace((graph) => {
      const p = graph.input('p', [3], 'u32');
      expect(() => gumbelNoise(p, { settings: small, vocabSize: 4, stream: 0 })).toThrow(ShapeError);
      expect(() => uniformNoise(p, graph.input('i', [4], 'u32'), { settings, stream: 0 })).toThrow(ShapeError);
      expect(() => gumbelNoise(p, { settings, vocabSize: 4, stream: -1 })).toThrow(ArgumentError);
    });
  });
});
