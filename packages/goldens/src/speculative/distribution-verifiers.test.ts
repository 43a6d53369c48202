/** Verifiers that keep the target's distribution, or are lossy, in the loop: greedy where it is cold, reproducible where it is not. */
import type { Drafter, Noise, Verifier } from '@forerun/contracts';
import { noState } from '@forerun/contracts';
import { Engine, type GenerateRequest } from '@forerun/decoding';
import { nGram } from '@forerun/drafters';
import { concat, WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import {
  blockVerification,
  draw,
  philoxNoise,
  rejectionSampling,
  sampleAndMatch,
  traversalVerification,
  typicalAcceptance,
} from '@forerun/verifiers';
import { describe, expect, it } from 'vitest';
import { bushes } from './adversaries.ts';
import { toyDecoder } from './toy-decoder.ts';

const device = await testDevice();
const vocabSize = 6;
const engineWith = (noise: typeof philoxNoise) =>
  Engine.create({
    device,
    decoder: toyDecoder({ vocabSize, seed: 5, order: 2, scale: 6 }),
    verifier: sampleAndMatch(),
    noise,
    weights: { store: new WeightStore(device), fill: async () => undefined },
    capacityTokens: 80,
    chunkTokens: [16],
  });
const engine = await engineWith(philoxNoise);

/** Guesses drawn from one uneven distribution, whatever came before: a chain, or two children under the anchor with a child each. */
function drawn(shape: 'chain' | 'tree'): Drafter {
  const weights = Array.from({ length: vocabSize }, (_, token) => (token + 1) / 21);
  return {
    name: `drawn ${shape}`,
    needs: {},
    gives: { distribution: true },
    state: () => noState,
    prefill: () => undefined,
    propose({ width, anchor, length, noise }) {
      const { graph } = anchor;
      const words = (data: readonly number[]) => graph.constant(Uint32Array.from(data));
      const rows = Array.from({ length: width - 1 }, (_, row) => row + 1);
      const q = graph.constant(Float32Array.from(rows.flatMap(() => weights)), [width - 1, vocabSize]);
      const positions = graph.constant(new Uint32Array(width - 1)).add(length);
      const tokens = concat([anchor, draw(q, noise.uniform(positions, words(rows), 'draft'))], 0);
      const distribution = graph.constant(Float32Array.from([0, ...rows].flatMap(() => weights)), [width, vocabSize]);
      const parents = [0, ...rows].map((row) => (row < 3 ? 0 : row - 2));
      const depths = [0, ...rows].map((row) => Math.ceil(row / 2));
      return {
        width,
        depth: shape === 'chain' ? width - 1 : depths.at(-1)!,
        chain: shape === 'chain',
        tokens,
        ...(shape === 'chain' ? {} : { parents: words(parents), depths: words(depths) }),
        count: words([width]),
        distribution,
      };
    },
    absorb: () => undefined,
  };
}

async function run(
  verifier: Verifier,
  drafter: Drafter | undefined,
  { sampling = {}, on = engine }: { sampling?: NonNullable<GenerateRequest['sampling']>; on?: Engine } = {},
) {
  const conversation = on.open({ verifier, ...(drafter && { drafter }) });
  let accepted = 0;
  for await (const step of conversation.generate({
    prompt: [1, 2, 3, 1, 2],
    maxTokens: 40,
    width: drafter ? 5 : 1,
    sampling,
  })) {
    accepted += step.accepted;
  }
  const tokens = [...conversation.tokens];
  conversation.close();
  expect(tokens).toHaveLength(45);
  return { tokens, accepted };
}

const certain: readonly Drafter[] = [nGram(), bushes(7)];
/** Draws nothing, so that no seed shows. */
const unseeded = typicalAcceptance();
const methods: readonly [Verifier, readonly Drafter[]][] = [
  [rejectionSampling({ drafts: 'certain' }), certain],
  [blockVerification({ drafts: 'certain' }), [nGram()]],
  [unseeded, certain],
  [typicalAcceptance({ next: 'drawn' }), [nGram()]],
  [rejectionSampling(), [drawn('chain')]],
  [rejectionSampling({ drafts: 'with-replacement' }), [drawn('tree')]],
  [blockVerification(), [drawn('chain')]],
  [traversalVerification(), [drawn('chain')]],
];

describe('in the loop', { timeout: 600_000 }, () => {
  it.each(methods)('$name', async (verifier, drafters) => {
    const cold = await run(sampleAndMatch(), undefined);
    const sampling = { temperature: 1.2, topK: 5, repetitionPenalty: 1.1, seed: 11 };
    for (const drafter of drafters) {
      expect((await run(verifier, drafter)).tokens, drafter.name).toEqual(cold.tokens);
      const warm = await run(verifier, drafter, { sampling });
      expect(warm.accepted, drafter.name).toBeGreaterThan(0);
      expect((await run(verifier, drafter, { sampling })).tokens, drafter.name).toEqual(warm.tokens);
      const other = await run(verifier, drafter, { sampling: { ...sampling, seed: 12 } });
      expect(other.tokens.join() === warm.tokens.join(), drafter.name).toBe(verifier === unseeded);
    }
  });

  it('sample-and-match draws from the noise that it is given, and says the same with and without drafts', async () => {
    const sampling = { temperature: 1.2, topP: 0.95, seed: 11 };
    const usual = await run(sampleAndMatch(), undefined, { sampling });
    // The same noise, but not known to be: added to the distribution instead of made while sampling.
    const wrapped = await engineWith((settings) => ({ ...philoxNoise(settings) }));
    expect((await run(sampleAndMatch(), undefined, { sampling, on: wrapped })).tokens).toEqual(usual.tokens);
    const still = await engineWith((settings): Noise => {
      const zero = philoxNoise(settings);
      return { ...zero, gumbel: (...args) => zero.gumbel(...args).mul(0) };
    });
    const cold = await run(sampleAndMatch(), undefined);
    expect((await run(sampleAndMatch(), bushes(7), { sampling: { temperature: 1 }, on: still })).tokens).toEqual(
      cold.tokens,
    );
    const inverse = sampleAndMatch({ by: 'inverse' });
    const plain = await run(inverse, undefined, { sampling });
    expect(plain.tokens).not.toEqual(usual.tokens);
    expect((await run(inverse, bushes(7), { sampling })).tokens).toEqual(plain.tokens);
    expect((await run(inverse, nGram(), { sampling })).tokens).toEqual(plain.tokens);
  });

  it('refuses drafters without a distribution where it is needed, and trees where a chain is', async () => {
    await expect(run(rejectionSampling(), nGram())).rejects.toMatchObject({ code: 'mismatched-parts' });
    await expect(run(blockVerification({ drafts: 'certain' }), bushes(7))).rejects.toMatchObject({
      code: 'mismatched-parts',
    });
  });
});
