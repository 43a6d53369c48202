/** What is drawn follows the softmax that the settings describe: over one step, and over two that depend on each other. */
import { describe, expect, it } from 'vitest';
import { compile } from '../../compile/compile.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import { testDevice } from '../../harness/index.ts';
import { Commands } from '../../run/commands.ts';
import { StateBuffers } from '../../run/state-buffers.ts';
import { filteredProbabilities } from './sample.reference.ts';
import { sample } from './sample.ts';
import type { SamplingSettings } from './settings.ts';
import { packSampling, samplingWords, unpackSampling } from './settings.ts';

const device = await testDevice();
const vocabSize = 7;
const draws = 20_480;
const settings = new State({ name: 'settings', shape: [samplingWords], dtype: 'u32' });
const counts = new State({ name: 'counts', shape: [2, vocabSize], dtype: 'u32' });
const buffers = new StateBuffers(device, [settings, counts]);
const program = await compile(
  trace((graph) => {
    const positions = graph.input('positions', [draws], 'u32');
    graph.output('tokens', sample(graph.input('logits', [draws, vocabSize]), { settings, counts, positions }));
  }),
  { device, name: 'draws' },
);

async function drawAll(
  logits: (row: number) => readonly number[],
  position: (row: number) => number,
): Promise<number[]> {
  const all = new Float32Array(draws * vocabSize);
  for (let row = 0; row < draws; row++) all.set(logits(row), row * vocabSize);
  program.write('logits', all);
  program.write(
    'positions',
    Uint32Array.from({ length: draws }, (_, row) => position(row)),
  );
  const commands = new Commands(device).run(program, { states: buffers });
  const tokens = commands.read(program, 'tokens');
  commands.submit();
  return [...(await tokens)];
}

/** P(chi-square of `freedom` degrees > value), by Wilson and Hilferty's normal approximation. */
function tail(value: number, freedom: number): number {
  const z = (Math.cbrt(value / freedom) - (1 - 2 / (9 * freedom))) / Math.sqrt(2 / (9 * freedom));
  const t = 1 / (1 + 0.3275911 * (Math.abs(z) / Math.SQRT2));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const upper = 0.5 * series * Math.exp((-z * z) / 2);
  return z > 0 ? upper : 1 - upper;
}

function chiSquare(observed: readonly number[], probabilities: readonly number[]): number {
  const cells = probabilities.map((probability, cell) => ({ expected: probability * draws, seen: observed[cell]! }));
  for (const { expected, seen } of cells) if (expected === 0) expect(seen).toBe(0);
  const possible = cells.filter(({ expected }) => expected > 0);
  expect(Math.min(...possible.map(({ expected }) => expected))).toBeGreaterThan(5);
  const value = possible.reduce((sum, { expected, seen }) => sum + (seen - expected) ** 2 / expected, 0);
  return possible.length === 1 ? 1 : tail(value, possible.length - 1);
}

const table = Array.from({ length: vocabSize + 1 }, (_, row) =>
  Array.from({ length: vocabSize }, (_, token) => Math.fround(2 * Math.sin(3 + row * 1.7 + token * token * 0.9))),
);

describe('tokens drawn', { timeout: 600_000 }, () => {
  const kinds: Readonly<Record<string, SamplingSettings>> = {
    'at a temperature': { temperature: 1.3, seed: 1 },
    'with top-k': { temperature: 1, topK: 3, seed: 2 },
    'with top-p': { temperature: 1.1, topP: 0.8, seed: 3 },
    'with min-p': { temperature: 1, minP: 0.15, seed: 4 },
    'with every filter': { temperature: 1.6, topK: 5, topP: 0.93, minP: 0.05, seed: 5 },
  };
  for (const [name, kind] of Object.entries(kinds)) {
    it(`follow their distribution ${name}`, async () => {
      const words = packSampling(kind);
      buffers.write(settings, words);
      const given = table.map((logits) => filteredProbabilities(logits, unpackSampling(words)));
      const first = await drawAll(
        () => table[vocabSize]!,
        (row) => 2 * row,
      );
      const second = await drawAll(
        (row) => table[first[row]!]!,
        (row) => 2 * row + 1,
      );

      const singles = Array.from({ length: vocabSize }, () => 0);
      const pairs = Array.from({ length: vocabSize ** 2 }, () => 0);
      first.forEach((token, row) => {
        singles[token]! += 1;
        pairs[token * vocabSize + second[row]!]! += 1;
      });
      expect(chiSquare(singles, given[vocabSize]!)).toBeGreaterThan(1e-4);
      const joint = pairs.map(
        (_, cell) =>
          given[vocabSize]![Math.floor(cell / vocabSize)]! * given[Math.floor(cell / vocabSize)]![cell % vocabSize]!,
      );
      expect(chiSquare(pairs, joint)).toBeGreaterThan(1e-4);
    });
  }

  it('would not pass for another distribution', () => {
    const even = Array.from({ length: vocabSize }, () => 1 / vocabSize);
    const observed = even.map(
      (probability, token) => draws * probability + (token === 0 ? 400 : token === 1 ? -400 : 0),
    );
    expect(chiSquare(observed, even)).toBeLessThan(1e-4);
    expect(
      chiSquare(
        even.map((probability) => probability * draws),
        even,
      ),
    ).toBeGreaterThan(0.99);
  });
});
