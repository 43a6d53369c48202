import { ArgumentError } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import type { AttentionLayer } from '../attention.ts';
import { AttentionConversation, type AttentionPass } from '../harness/attention-conversation.ts';
import { holdAttention } from '../harness/hold-attention.ts';
import { softmaxAttention } from './softmax.ts';

const device = await testDevice();
const [heads, kvHeads, headDim] = [4, 2, 16];
const layers: readonly AttentionLayer[] = [
  { kvHeads, headDim },
  { kvHeads, headDim, window: 6, softcap: 20, scale: 0.3 },
];

/** A conversation over both layers. */
const converse = (cache: 'f32' | 'f16', { capacity = 48, rollbackTokens = 0 } = {}) =>
  new AttentionConversation(device, {
    attention: softmaxAttention,
    layers,
    heads,
    cache,
    capacityTokens: capacity,
    rollbackTokens,
    passTokens: 64,
  });

describe.each([
  ['f32', 1e-5],
  ['f16', 1e-3],
] as const)('softmax attention over a cache in %s', (cache, tolerance) => {
  it('is dense attention, in passes of any size, over trees and tokens taken back', async () => {
    await holdAttention(device, { attention: softmaxAttention, layers, heads, cache, tolerance });
  });

  it('leaves no trace of padded rows', async () => {
    const tokens = Array.from({ length: 10 }, (_, i) => i);
    const [plain, padded] = [converse(cache), converse(cache)];
    await plain.run({ tokens, length: 0 });
    const outputs = await padded.run({ tokens: [...tokens, 60, 61, 62], length: 0, count: 10 });
    for (const output of outputs)
      expect(output.subarray(10 * heads * headDim)).toEqual(new Float32Array(3 * heads * headDim));
    expect(await padded.kept(20)).toEqual(await plain.kept(20));
  });
});

describe('a window over a ring', () => {
  it('gives the rows of a cache of everything, over passes, trees and tokens taken back', async () => {
    const [ring, whole] = [converse('f32', { capacity: 300 }), converse('f32', { capacity: 300, rollbackTokens: 300 })];
    const both = async (pass: AttentionPass) => {
      const [one, other] = [await ring.run(pass), await whole.run(pass)];
      expect(one).toEqual(other);
    };
    const tokensFrom = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);
    // The ring has 5 + 64 slots: it goes round twice, with and without a tree over its end.
    for (let at = 0; at < 138; at += 46) await both({ tokens: tokensFrom(at, 46), length: at });
    await both({ tokens: tokensFrom(200, 5), length: 136, parents: [0, 0, 0, 1, 2], accepted: [0, 2, 4] });
    await both({ tokens: tokensFrom(300, 4), length: 139 });
    await both({ tokens: tokensFrom(400, 6), length: 120, count: 4 });
    await both({ tokens: tokensFrom(500, 3), length: 124 });
  });

  it('can go back by what it reaches, or to the beginning', () => {
    const state = softmaxAttention(layers, 1000, { rollbackTokens: 20, passTokens: 30 });
    expect(state.states.map(({ shape }) => shape[0])).toEqual([1000, 1000, 89, 89]);
    const reached = (length: number, past: object) =>
      state.reachable(length, { restored: 0, written: 200, marks: [], ...past });
    expect([reached(200, {}), reached(116, {}), reached(115, {})]).toEqual([200, 116, 0]);
    expect([reached(50, { written: 84 }), reached(0, { written: 84 })]).toEqual([50, 0]);
    const long = softmaxAttention(layers, 1000, { rollbackTokens: 20, passTokens: 512 });
    expect(long.states.map(({ shape }) => shape[0])).toEqual([1000, 1000, 517, 517]);
  });

  it('refuses passes that it cannot hold', async () => {
    const wide = converse('f32', { capacity: 300 });
    await expect(wide.run({ tokens: Array.from({ length: 65 }, (_, i) => i), length: 0 })).rejects.toThrow(
      /at most 64 rows.*got 65.*passTokens: 65/,
    );
  });
});

describe('softmaxAttention', () => {
  it('names its states and says how far it can go back', () => {
    const state = softmaxAttention(layers, 32, { rollbackTokens: 0, name: 'draft' });
    expect(state.states.map(({ name }) => name)).toEqual([
      'draft.0.keys',
      'draft.0.values',
      'draft.1.keys',
      'draft.1.values',
    ]);
    const past = { restored: 0, written: 32, marks: [] };
    expect([state.reachable(7, past), state.reachable(50, past)]).toEqual([7, 32]);
  });

  it('refuses capacities and widths that cannot be', () => {
    expect(() => softmaxAttention(layers, 0, { rollbackTokens: 0 })).toThrow(ArgumentError);
    expect(() => softmaxAttention(layers, 1.5, { rollbackTokens: 0 })).toThrow(ArgumentError);
    expect(() => softmaxAttention([{ kvHeads: 1, headDim: 5 }], 8, { rollbackTokens: 0, cache: 'f16' })).toThrow(
      ArgumentError,
    );
  });
});
