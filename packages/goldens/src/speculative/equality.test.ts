import type { Drafter, Verifier } from '@forerun/contracts';
import type { GenerateRequest, GenerationStep } from '@forerun/decoding';
import { Engine } from '@forerun/decoding';
import { nGram, replay } from '@forerun/drafters';
import { WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { greedy, philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { describe, expect, it } from 'vitest';
import { bushes, invalidIds, parrot } from './adversaries.ts';
import { toyDecoder } from './toy-decoder.ts';

const device = await testDevice();
const capacityTokens = 80;
const decoder = toyDecoder({ vocabSize: 6, seed: 5, order: 2, scale: 6 });
const engine = await Engine.create({
  device,
  decoder,
  verifier: sampleAndMatch(),
  noise: philoxNoise,
  weights: { store: new WeightStore(device), fill: async () => undefined },
  capacityTokens,
  chunkTokens: [16],
});

const samplings: Readonly<Record<string, GenerateRequest['sampling']>> = {
  greedy: {},
  sampled: { temperature: 0.9, seed: 7 },
  filtered: { temperature: 1.5, topK: 4, topP: 0.9, minP: 0.02, seed: 8 },
  penalised: { temperature: 0.7, repetitionPenalty: 1.2, presencePenalty: 0.3, frequencyPenalty: 0.1, seed: 9 },
};
const prompt = [1, 2, 3, 1, 2];
const maxTokens = 40;

async function run(one: {
  drafter?: Drafter;
  verifier?: Verifier;
  width?: number;
  recording?: readonly number[];
  sampling: GenerateRequest['sampling'];
}) {
  const { drafter, verifier, width = 1, recording, sampling } = one;
  const conversation = engine.open({ ...(drafter && { drafter }), ...(verifier && { verifier }) });
  if (recording && drafter) {
    const [state] = engine.speculation(drafter, verifier).drafterState!.states;
    conversation.states.write(state!, Uint32Array.from(recording));
  }
  const steps: GenerationStep[] = [];
  for await (const step of conversation.generate({ prompt, maxTokens, width, ...(sampling && { sampling }) }))
    steps.push(step);
  const tokens = [...conversation.tokens];
  conversation.close();
  return { tokens, accepted: steps.reduce((sum, { accepted }) => sum + accepted, 0), rounds: steps.length };
}

describe('speculative output equals plain output', { timeout: 600_000 }, () => {
  for (const [name, sampling] of Object.entries(samplings)) {
    it(`for every drafter and width: ${name}`, async () => {
      const plain = await run({ sampling });
      expect(plain.tokens).toHaveLength(prompt.length + maxTokens);
      const cases: [Drafter, readonly number[], ((accepted: number, rounds: number) => boolean)?][] = [
        [nGram(), [2, 8]],
        [nGram({ prefer: 'earliest', longest: 2 }), [4]],
        [replay(), [2, 16], (accepted, rounds) => accepted > maxTokens / 2 - 2 && rounds <= maxTokens / 2],
        [replay({ corruption: 0.3, seed: 1 }), [4], (accepted) => accepted > maxTokens / 5],
        [replay({ corruption: 1 }), [4], (accepted) => accepted === 0],
        [invalidIds(), [4], (accepted) => accepted === 0],
        [parrot(), [4]],
        [bushes(7), [8], (accepted) => accepted > maxTokens / 5],
        [bushes(2), [16]],
      ];
      for (const [drafter, widths, expected] of cases) {
        for (const width of widths) {
          const recording = drafter.name === 'replay' ? plain.tokens : undefined;
          const { tokens, accepted, rounds } = await run({ drafter, width, sampling, ...(recording && { recording }) });
          expect(tokens, `${drafter.name} at width ${width}`).toEqual(plain.tokens);
          if (expected)
            expect(expected(accepted, rounds), `${drafter.name} at width ${width}: ${accepted} in ${rounds}`).toBe(
              true,
            );
        }
      }
    });
  }

  it('for the greedy verifier, whatever the temperature', async () => {
    const cold = await run({ sampling: {} });
    const sampling = { temperature: 2, seed: 3 };
    const verifier = greedy();
    expect((await run({ verifier, sampling })).tokens).toEqual(cold.tokens);
    expect((await run({ verifier, drafter: nGram(), width: 8, sampling })).tokens).toEqual(cold.tokens);
    expect((await run({ verifier, drafter: bushes(7), width: 16, sampling })).tokens).toEqual(cold.tokens);
  });
});
