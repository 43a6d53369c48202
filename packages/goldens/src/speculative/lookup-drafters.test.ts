/** Drafters without weights of their own change no token, whatever they guess. */
import type { Decoder, Drafter } from '@forerun/contracts';
import type { GenerateRequest, GenerationStep } from '@forerun/decoding';
import { Engine } from '@forerun/decoding';
import { buildDatastore, lookahead, nGram, retrieval, suffix, tokenRecycling } from '@forerun/drafters';
import { WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { describe, expect, it } from 'vitest';
import { toyDecoder } from './toy-decoder.ts';

const device = await testDevice();
const vocabSize = 6;
const decoder = toyDecoder({ vocabSize, seed: 5, order: 2, scale: 6 });

const engineOf = (target: Decoder) =>
  Engine.create({
    device,
    decoder: target,
    verifier: sampleAndMatch(),
    noise: philoxNoise,
    weights: { store: new WeightStore(device), fill: async () => undefined },
    capacityTokens: 80,
    chunkTokens: [16],
  });
const engine = await engineOf(decoder);

const prompt = [1, 2, 3, 1, 2];

async function run(request: Pick<GenerateRequest, 'sampling' | 'width'>, drafter?: Drafter, on = engine) {
  const conversation = on.open(drafter ? { drafter } : {});
  const steps: GenerationStep[] = [];
  for await (const step of conversation.generate({ prompt, maxTokens: 60, ...request })) steps.push(step);
  const tokens = [...conversation.tokens];
  conversation.close();
  return { tokens, accepted: steps.reduce((sum, { accepted }) => sum + accepted, 0), rounds: steps.length };
}

const said = (await run({ sampling: {} })).tokens;

/** Drafters, the rows of a round, and how many of 60 greedy tokens they must at least guess right. */
const cases: [Drafter, number, number][] = [
  [nGram({ prefer: 'longest' }), 4, 20],
  [suffix(), 16, 10],
  [retrieval(buildDatastore([said, [1, 2, 4, 4, 2]]), { shortestMatch: 1 }), 16, 25],
  [retrieval(buildDatastore(said), { form: 'chain', longest: 20 }), 8, 30],
  [tokenRecycling({ vocabSize }), 16, 10],
  [tokenRecycling({ vocabSize, candidates: 2 }), 2, 5],
  [lookahead({ vocabSize }), 32, 10],
  [lookahead({ vocabSize, fromText: false }), 16, 1],
  [lookahead({ vocabSize }), 4, 5],
];

describe('look-up drafters', () => {
  for (const [name, sampling] of Object.entries({
    greedy: {},
    sampled: { temperature: 0.9, seed: 7 },
    penalised: { temperature: 0.7, repetitionPenalty: 1.2, frequencyPenalty: 0.1, seed: 9 },
  })) {
    it(`say what plain decoding says: ${name}`, async () => {
      const plain = name === 'greedy' ? { tokens: said } : await run({ sampling });
      for (const [drafter, width, least] of cases) {
        const { tokens, accepted, rounds } = await run({ sampling, width }, drafter);
        const what = `${drafter.name} at width ${width}: ${accepted} accepted in ${rounds} rounds`;
        expect(tokens, what).toEqual(plain.tokens);
        expect(accepted, what).toBeGreaterThan(name === 'greedy' ? least : 0);
      }
    });
  }

  it('make chains where the target verifies chains only', async () => {
    const chains = await engineOf({ ...decoder, branching: false });
    const text = buildDatastore(said);
    for (const drafter of [suffix(), retrieval(text), tokenRecycling({ vocabSize }), lookahead({ vocabSize })]) {
      const { tokens, accepted } = await run({ sampling: {}, width: 4 }, drafter, chains);
      expect(tokens, drafter.name).toEqual(said);
      expect(accepted, drafter.name).toBeGreaterThan(10);
    }
    chains.destroy();
  });
});
