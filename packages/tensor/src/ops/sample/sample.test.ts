import { describe, expect, it } from 'vitest';
import { ArgumentError, ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import { hold, randomSource, testDevice } from '../../harness/index.ts';
import { noToken } from './sample.reference.ts';
import { sample } from './sample.ts';
import type { SamplingSettings } from './settings.ts';
import { packSampling, samplingWords, unpackSampling } from './settings.ts';

const device = await testDevice();
const settings = new State({ name: 'settings', shape: [samplingWords], dtype: 'u32' });
const countsOf = (vocabSize: number) => new State({ name: 'counts', shape: [2, vocabSize], dtype: 'u32' });

interface Case {
  readonly rows: number;
  readonly vocabSize: number;
  readonly settings: SamplingSettings;
  readonly logits?: ArrayLike<number>;
  readonly positions?: readonly number[];
  readonly tokens?: readonly number[];
  readonly parents?: readonly number[];
  readonly counts?: ArrayLike<number>;
  readonly greedy?: boolean;
}

async function draw(one: Case): Promise<number[]> {
  const { rows, vocabSize } = one;
  const counts = countsOf(vocabSize);
  const positions = one.positions ?? Array.from({ length: rows }, (_, row) => 100 + row);
  const { outputs } = await hold(device, {
    inputs: {
      logits: { shape: [rows, vocabSize], ...(one.logits ? { data: one.logits } : {}) },
      positions: { shape: [rows], dtype: 'u32', data: positions },
      tokens: { shape: [rows], dtype: 'u32', data: one.tokens ?? positions },
      parents: { shape: [rows], dtype: 'u32', data: one.parents ?? positions },
    },
    body: ({ logits, positions, tokens, parents }) => ({
      y: sample(logits, {
        settings,
        counts,
        positions,
        ...(one.greedy ? { greedy: true } : {}),
        ...(one.tokens ? { path: { tokens, ...(one.parents ? { parents } : {}) } } : {}),
      }),
    }),
    states: new Map<State, ArrayLike<number>>([
      [settings, packSampling(one.settings)],
      [counts, one.counts ?? new Uint32Array(2 * vocabSize)],
    ]),
    tolerance: 0,
    seed: 3,
  });
  return [...outputs.y!];
}

describe('sample', () => {
  const shapes = [
    [1, 1],
    [3, 63],
    [2, 100],
    [5, 1000],
    [2, 2500],
  ] as const;
  const kinds: Readonly<Record<string, SamplingSettings>> = {
    greedy: {},
    plain: { temperature: 0.8, seed: 11 },
    hot: { temperature: 3, seed: 2 ** 45 + 1 },
    'top-k': { temperature: 1, topK: 7, seed: 1 },
    'top-p': { temperature: 1.2, topP: 0.6, seed: 2 },
    'min-p': { temperature: 1.5, minP: 0.2, seed: 3 },
    'every filter': { temperature: 2, topK: 40, topP: 0.9, minP: 0.05, seed: 4 },
    'more than all': { temperature: 1, topK: 1e6, topP: 0.999_999, seed: 5 },
  };
  for (const [name, kind] of Object.entries(kinds)) {
    it(`chooses what float64 chooses: ${name}`, async () => {
      for (const [rows, vocabSize] of shapes) await draw({ rows, vocabSize, settings: kind });
    });
  }

  it('takes the lowest of equal tokens, whichever workgroup saw them', async () => {
    const logits = new Float32Array(3000).fill(1);
    expect(await draw({ rows: 1, vocabSize: 3000, settings: {}, logits })).toEqual([0]);
    logits.fill(2, 1500);
    expect(await draw({ rows: 1, vocabSize: 3000, settings: {}, logits })).toEqual([1500]);
    expect(await draw({ rows: 1, vocabSize: 2, settings: {}, logits: [-0, 0] })).toEqual([0]);
  });

  it('keeps every token that equals the last one kept', async () => {
    const logits = Array.from({ length: 64 * 8 }, (_, i) => [5, 3, 3, 3, 1, 0, 0, 0][i % 8]!);
    const seen = new Set(
      await draw({ rows: 64, vocabSize: 8, settings: { temperature: 4, topK: 2, seed: 9 }, logits }),
    );
    expect([...seen].sort()).toEqual([0, 1, 2, 3]);
  });

  it('ignores the temperature where it is asked to be greedy', async () => {
    const cold = await draw({ rows: 4, vocabSize: 500, settings: {} });
    expect(
      await draw({ rows: 4, vocabSize: 500, settings: { temperature: 2, topK: 5, seed: 3 }, greedy: true }),
    ).toEqual(cold);
  });

  it('never chooses an excluded token and says where none is left or something is broken', async () => {
    const random = randomSource(5);
    const logits = Array.from({ length: 4 * 70 }, () => random.normal());
    for (let i = 0; i < 70; i++) if (i !== 33) logits[i] = -Infinity;
    logits.fill(-Infinity, 70, 140);
    logits[140 + 69] = NaN;
    logits[210 + 3] = Infinity;
    for (const one of [{}, { temperature: 1 }, { temperature: 1, topP: 0.5, topK: 3 }]) {
      const tokens = await draw({ rows: 4, vocabSize: 70, settings: one, logits });
      expect(tokens).toEqual([33, noToken, noToken, noToken]);
    }
  });

  it('gives a row the same token alone and among others', async () => {
    const random = randomSource(8);
    const vocabSize = 1500;
    const row = Array.from({ length: vocabSize }, () => random.normal());
    for (const one of [{}, { temperature: 1, seed: 4 }, { temperature: 1, topK: 50, topP: 0.8, seed: 4 }]) {
      const [alone] = await draw({ rows: 1, vocabSize, settings: one, logits: row, positions: [77] });
      for (const rows of [2, 3, 7, 8, 16, 33, 64]) {
        const at = rows >> 1;
        const logits = Array.from({ length: rows * vocabSize }, () => random.normal());
        logits.splice(at * vocabSize, vocabSize, ...row);
        const positions = Array.from({ length: rows }, (_, i) => (i === at ? 77 : i));
        expect((await draw({ rows, vocabSize, settings: one, logits, positions }))[at]).toBe(alone);
      }
    }
  });

  const penalties = { repetitionPenalty: 1.3, presencePenalty: 0.4, frequencyPenalty: 0.2 };
  for (const [name, one] of Object.entries({
    greedy: penalties,
    filtered: { ...penalties, temperature: 1, topP: 0.7, seed: 6 },
  })) {
    it(`penalises what stands in the context and on the row's own path: ${name}`, async () => {
      const random = randomSource(6);
      const [rows, vocabSize] = [16, 90];
      const counts = Array.from({ length: 2 * vocabSize }, () => random.integer(3));
      const tokens = Array.from({ length: rows }, () => random.integer(5));
      const parents = tokens.map((_, row) => (row === 0 ? 0 : random.integer(row)));
      await draw({ rows, vocabSize, settings: one, counts, tokens });
      await draw({ rows, vocabSize, settings: one, counts, tokens, parents });
      await draw({ rows, vocabSize, settings: one, counts });
    });
  }

  it('counts only ancestors: a penalised sibling changes nothing', async () => {
    const logits = [0, 0, 0, 0].flatMap(() => [2, 1.9, 0, 0]);
    const settings = { presencePenalty: 1 };
    const chosen = await draw({ rows: 4, vocabSize: 4, settings, logits, tokens: [0, 0, 1, 1], parents: [0, 0, 0, 1] });
    expect(chosen).toEqual([0, 1, 0, 0]);
  });

  it('refuses operands that do not fit', () => {
    trace((graph) => {
      const logits = graph.input('logits', [2, 8]);
      const positions = graph.input('p', [2], 'u32');
      const counts = countsOf(8);
      expect(() => sample(logits, { settings, counts: countsOf(9), positions })).toThrow(ShapeError);
      expect(() => sample(logits, { settings: counts, counts, positions })).toThrow(ShapeError);
      expect(() => sample(logits, { settings, counts, positions: graph.input('q', [3], 'u32') })).toThrow(ShapeError);
      expect(() => sample(logits, { settings, counts, positions, stream: 1.5 })).toThrow(ArgumentError);
    });
  });
});

describe('packSampling', () => {
  it('says what unpackSampling reads', () => {
    const one = {
      temperature: 0.5,
      topK: 40,
      topP: 0.75,
      minP: 0.125,
      repetitionPenalty: 1.5,
      presencePenalty: -1,
      frequencyPenalty: 2,
      seed: 2n ** 63n + 3n,
    };
    expect(unpackSampling(packSampling(one))).toEqual({ ...one, seedWords: [3, 2 ** 31], penalised: true });
    expect(unpackSampling(packSampling({}))).toMatchObject({ temperature: 0, penalised: false });
  });

  it('refuses numbers that no sampler could use', () => {
    const bad = [
      { temperature: -1 },
      { temperature: NaN },
      { topK: 1.5 },
      { topP: 2 },
      { minP: -0.1 },
      { repetitionPenalty: 0 },
      { seed: -1 },
      { seed: 0.5 },
    ];
    for (const one of bad) expect(() => packSampling(one)).toThrow(ArgumentError);
  });
});
