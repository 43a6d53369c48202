/** What `forerun bench --config … --random` measures, on a model small enough for a software adapter. */
import { testDevice } from '@forerun/tensor/harness';
import { afterAll, describe, expect, it } from 'vitest';
import { reportEngine } from './engine-report.ts';
import { engineReportText } from './engine-report-text.ts';
import { randomEngine } from './random-engine.ts';
import { corrupted } from './replay-report.ts';
import { reportSpeculation } from './speculation-report.ts';
import { speculationReportText } from './speculation-report-text.ts';

const device = await testDevice();
const small = {
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 96,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  num_hidden_layers: 1,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-6,
  rope_theta: 10_000,
  vocab_size: 160,
  tie_word_embeddings: false,
};
const made = { device, weights: 'q4', seed: 3, chunkTokens: [16] } as const;
const random = await randomEngine(small, { ...made, capacityTokens: 2000 });
afterAll(() => random.engine.destroy());

describe('an engine with random weights', () => {
  it('is checked, then measured, and what does not fit is named', async () => {
    const { engine, store, config } = random;
    const report = await reportEngine(engine, {
      store,
      json: small,
      config,
      widths: [1, 4],
      contexts: [32, 1024, 4096],
      prefills: [16, 2048],
    });
    expect(report.output_checked).toBe(true);
    expect(report.check.exactWidths).toEqual([1, 4]);
    expect(report.check.layers.map(({ rows, problem }) => [rows, problem])).toEqual([
      [1, undefined],
      [4, undefined],
      [16, undefined],
    ]);
    if (report.decode.gpu_ms !== undefined) {
      const sum = report.kernels.reduce((total, { dispatches }) => total + dispatches, 0);
      expect(sum).toBe(report.decode.dispatches);
    }
    expect(report.left_out).toHaveLength(2);
    for (const named of report.left_out) expect(named).toMatch(/max_position_embeddings.*1024/);
    expect(report.contexts.map(({ context }) => context)).toEqual([32, 1024]);
    const { decode } = report;
    expect(decode).toEqual(report.contexts[0]);
    for (const figure of [decode.ms_per_token, decode.floor_ms, decode.dispatches, decode.bytes]) {
      expect(figure).toBeGreaterThan(0);
    }
    // Every matrix in 4.5 bits but the embedding, of which a row is read.
    expect(decode.bytes).toBeGreaterThan(0.9 * (64 * (64 + 64 + 64) + 3 * 64 * 96 + 160 * 64) * 0.5625);
    expect(Object.keys(report.widths)).toEqual(['1', '4']);
    expect(Object.keys(report.width_kernels)).toEqual(['1', '4']);
    for (const kernels of Object.values(report.width_kernels)) expect(kernels.length).toBeGreaterThan(5);
    expect(Object.keys(report.prefill)).toEqual(['16']);
    expect(report.memory.peak_bytes).toBeGreaterThanOrEqual(report.memory.held_bytes);
    const text = engineReportText(report);
    expect(text).toMatch(/step at 32/);
    for (const named of report.left_out) expect(text).toContain(named);
  });
});

describe('speculation with random weights', () => {
  it('gives the plain text with replay, a draft model and every family of heads', async () => {
    const [context, tokens] = [24, 8];
    const report = await reportSpeculation(random, {
      json: small,
      weights: 'q4',
      context,
      tokens,
      pairs: 1,
      acceptances: [0.75],
      widths: [1, 4, 5],
      draft: { ...small, vocab_size: 999 },
      heads: ['eagle3', 'mtp', 'medusa'],
      nodes: [4],
    });
    expect(report.output_checked).toBe(true);
    expect(report.left_out).toEqual(['width 5: not a class of widths']);
    const [fixed, chosen] = report.replay!.points;
    expect(fixed).toMatchObject({ acceptance: 0.75, width: 4, output_equal: true });
    expect(fixed!.acceptance_length).toBeGreaterThan(1);
    const { round_ms } = report.replay!;
    expect(fixed!.predicted_ratio).toBeCloseTo((fixed!.acceptance_length * round_ms['1']!) / round_ms['4']!, 10);
    expect(chosen).toMatchObject({ width: 'auto', predicted_ratio: undefined });
    expect(report.replay!.best).toEqual([fixed]);
    expect(report.draft.map(({ nodes }) => nodes)).toEqual([4]);
    for (const family of ['eagle3', 'mtp', 'medusa'] as const) {
      const [round] = report.heads[family]!;
      expect(round!.nodes).toBe(4);
      expect(round!.break_even_acceptance_length).toBeGreaterThan(0);
      if (round!.sections_ms) expect(round!.sections_ms.draft).toBeGreaterThan(0);
    }
    const text = speculationReportText(report);
    for (const title of ['replay behind 24', 'draft model', 'eagle3', 'mtp', 'medusa']) expect(text).toContain(title);
  });

  it('replaces as many recorded tokens as were asked for, behind the prompt', () => {
    const tokens = Array.from({ length: 4000 }, (_, i) => i % 7);
    const parts = { acceptance: 0.8, vocabSize: 7, from: 1000 };
    const came = corrupted(tokens, parts);
    expect([...came.subarray(0, 1000)]).toEqual(tokens.slice(0, 1000));
    const right = tokens.filter((token, i) => i >= 1000 && came[i] === token).length;
    expect(right / 3000).toBeGreaterThan(0.77);
    expect(right / 3000).toBeLessThan(0.83);
    expect(came.every((token) => token < 7)).toBe(true);
    expect([...corrupted(tokens, { ...parts, acceptance: 1 })]).toEqual(tokens);
  });
});
