/** The target's own first layers as the draft: the output is plain decoding's, and nothing of a rejected draft stays in the cache. */
import { MismatchedPartsError } from '@forerun/contracts';
import { Engine, type GenerateRequest } from '@forerun/decoding';
import { earlyExit } from '@forerun/drafters';
import { ArgumentError, WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { philoxNoise, rejectionSampling, sampleAndMatch } from '@forerun/verifiers';
import { fillWeights } from 'forerun/check';
import { afterAll, describe, expect, test } from 'vitest';
import { goldenCase, targetLlama } from './golden-case.ts';

const device = await testDevice();
const target = await targetLlama();
const store = new WeightStore(device);
const engine = await Engine.create({
  device,
  decoder: target.decoder,
  verifier: sampleAndMatch(),
  noise: philoxNoise,
  weights: { store, fill: (weights) => fillWeights(store, [target], weights) },
  capacityTokens: 80,
  chunkTokens: [16],
});
afterAll(() => engine.destroy());

const { prompt, new_tokens: continuation } = goldenCase('target-llama').facts['greedy'] as {
  readonly prompt: readonly number[];
  readonly new_tokens: readonly number[];
};
const maxTokens = 16;
const drafters = new Map([1, 6].map((layer) => [layer, earlyExit({ layer })]));
const samplings: readonly NonNullable<GenerateRequest['sampling']>[] = [
  {},
  { temperature: 0.8, seed: 3, repetitionPenalty: 1.1 },
];

/** Runs a request, and reads the caches' bytes behind it. */
async function talk(layer: number | undefined, request: GenerateRequest) {
  const conversation = engine.open(layer === undefined ? {} : { drafter: drafters.get(layer)! });
  for await (const step of conversation.generate(request)) expect(step.tokens.length).toBeGreaterThan(0);
  const { draftedTokens, acceptedTokens } = conversation.statistics!;
  const kept = conversation.tokens.length - 1;
  const caches = await Promise.all(
    engine.state.states.map((state) =>
      conversation.states.read(state, 0, (state.byteLength / 4 / state.shape[0]!) * kept),
    ),
  );
  const tokens = conversation.tokens.slice(request.prompt.length);
  conversation.close();
  return { tokens, drafted: draftedTokens, accepted: acceptedTokens, caches };
}

describe('earlyExit', () => {
  test.each(samplings)("gives plain decoding's tokens and cache: %o", async (sampling) => {
    const plain = await talk(undefined, { prompt, maxTokens, sampling, width: 1 });
    if (Object.keys(sampling).length === 0) expect(plain.tokens).toEqual(continuation.slice(0, maxTokens));
    for (const [layer, width] of [
      [1, 4],
      [6, 2],
    ] as const) {
      const run = await talk(layer, { prompt, maxTokens, sampling, width });
      console.info(`exit after ${layer}, width ${width}: ${run.accepted} of ${run.drafted} drafts accepted`);
      expect(run.tokens).toEqual(plain.tokens);
      expect(run.caches).toEqual(plain.caches);
      if (layer > 1) expect(run.accepted).toBeGreaterThan(0);
      if (layer === 1) expect(run.accepted).toBeLessThan(run.drafted);
    }
  });

  test('hands over what its drafts were drawn from', async () => {
    const drawn = earlyExit({ layer: 6, children: 'drawn' });
    const conversation = engine.open({ drafter: drawn, verifier: rejectionSampling() });
    for await (const step of conversation.generate({ prompt, maxTokens: 12, width: 2 })) expect(step.width).toBe(2);
    expect(conversation.tokens.slice(prompt.length)).toEqual(continuation.slice(0, 12));
    expect(conversation.statistics!.acceptedTokens).toBeGreaterThan(2);
    conversation.close();
    const coupled = earlyExit({ layer: 6 });
    expect(() => engine.open({ drafter: coupled, verifier: rejectionSampling() })).toThrow(MismatchedPartsError);
  });

  test('refuses exits that the target does not have', () => {
    for (const layer of [0, 1.5]) expect(() => earlyExit({ layer })).toThrow(ArgumentError);
    expect(() => earlyExit({ layer: 2, depth: 0 })).toThrow(ArgumentError);
    const late = earlyExit({ layer: 8 });
    expect(() => engine.speculation(late)).toThrow(MismatchedPartsError);
    expect(() => engine.speculation(late)).toThrow(/1 to 7/);
  });
});
