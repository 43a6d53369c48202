import { describe, expect, it } from 'vitest';
import { State } from '../../graph/state.ts';
import { hold, holdRowsInvariant, randomSource, testDevice } from '../../harness/index.ts';
import type { SamplingSettings } from '../sample/settings.ts';
import { packSampling, samplingWords } from '../sample/settings.ts';
import { samplingProbabilities } from './sampling-probabilities.ts';

const device = await testDevice();
const settings = new State({ name: 'settings', shape: [samplingWords], dtype: 'u32' });
const countsOf = (vocabSize: number) => new State({ name: 'counts', shape: [2, vocabSize], dtype: 'u32' });

interface Case {
  readonly rows: number;
  readonly vocabSize: number;
  readonly settings: SamplingSettings;
  readonly logits?: ArrayLike<number>;
  readonly tokens?: readonly number[];
  readonly parents?: readonly number[];
  readonly greedy?: boolean;
}

async function probabilities(one: Case): Promise<Float32Array> {
  const { rows, vocabSize } = one;
  const counts = countsOf(vocabSize);
  const column = (data?: readonly number[]) => ({
    shape: [rows],
    dtype: 'u32' as const,
    data: data ?? new Uint32Array(rows),
  });
  const { outputs } = await hold(device, {
    inputs: {
      logits: { shape: [rows, vocabSize], ...(one.logits ? { data: one.logits } : {}) },
      tokens: column(one.tokens),
      parents: column(one.parents),
    },
    body: ({ logits, tokens, parents }) => ({
      y: samplingProbabilities(logits, {
        settings,
        counts,
        ...(one.greedy ? { greedy: true } : {}),
        ...(one.tokens ? { path: { tokens, ...(one.parents ? { parents } : {}) } } : {}),
      }),
    }),
    states: new Map<State, ArrayLike<number>>([
      [settings, packSampling(one.settings)],
      [counts, Uint32Array.from({ length: 2 * vocabSize }, (_, i) => i % 3)],
    ]),
    tolerance: 2e-6,
    seed: 3,
  });
  return outputs.y as Float32Array;
}

describe('samplingProbabilities', () => {
  const shapes = [
    [1, 1],
    [3, 63],
    [2, 100],
    [5, 1000],
    [2, 2500],
  ] as const;
  const kinds: Readonly<Record<string, SamplingSettings>> = {
    cold: {},
    plain: { temperature: 0.8 },
    'top-k': { temperature: 1, topK: 7 },
    'top-p': { temperature: 1.2, topP: 0.6 },
    'min-p': { temperature: 1.5, minP: 0.2 },
    'every filter': { temperature: 2, topK: 40, topP: 0.9, minP: 0.05 },
  };
  for (const [name, kind] of Object.entries(kinds)) {
    it(`agrees with float64: ${name}`, async () => {
      for (const [rows, vocabSize] of shapes) {
        const y = await probabilities({ rows, vocabSize, settings: kind });
        for (let row = 0; row < rows; row++) {
          const sum = y.subarray(row * vocabSize, (row + 1) * vocabSize).reduce((a, b) => a + b, 0);
          expect(Math.abs(sum - 1)).toBeLessThan(1e-5);
        }
      }
    });
  }

  it("takes penalties of the row's own path into account", async () => {
    const random = randomSource(6);
    const penalties = {
      temperature: 1,
      topP: 0.8,
      repetitionPenalty: 1.3,
      presencePenalty: 0.4,
      frequencyPenalty: 0.2,
    };
    const tokens = Array.from({ length: 16 }, () => random.integer(5));
    const parents = tokens.map((_, row) => (row === 0 ? 0 : random.integer(row)));
    const one = { rows: 16, vocabSize: 90, settings: penalties, tokens };
    const chain = await probabilities(one);
    const tree = await probabilities({ ...one, parents });
    expect(tree).not.toEqual(chain);
    await probabilities({ ...one, settings: { repetitionPenalty: 1.5 } });
  });

  it('gives a row the same bits alone and among others', async () => {
    const counts = countsOf(300);
    await holdRowsInvariant(device, {
      rows: { logits: { shape: [300] } },
      body: ({ logits }) => ({ y: samplingProbabilities(logits, { settings, counts }) }),
      states: new Map<State, ArrayLike<number>>([
        [settings, packSampling({ temperature: 0.9, topP: 0.9 })],
        [counts, new Uint32Array(600)],
      ]),
      tolerance: 2e-6,
    });
  });

  it('is 0 where a row is broken, and ignores the temperature where asked', async () => {
    const logits = new Float32Array(4 * 9).fill(1);
    logits[3] = NaN;
    logits[9 + 2] = Infinity;
    logits.fill(-Infinity, 18, 27);
    for (const kind of [{}, { temperature: 1 }, { temperature: 1, topK: 3 }]) {
      const y = await probabilities({ rows: 4, vocabSize: 9, settings: kind, logits });
      expect([...y.subarray(0, 27)]).toEqual(Array.from({ length: 27 }, () => 0));
      expect(y[27]).toBeGreaterThan(0);
    }
    const cold = await probabilities({ rows: 4, vocabSize: 9, settings: { temperature: 2 }, logits, greedy: true });
    expect([...cold.subarray(27)]).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 0]);
  });
});
