/** The toy decoder on an engine, and runs on it: what tests of drafters need, in milliseconds. */
import type { Detokenizer, Drafter } from '@forerun/contracts';
import { type Conversation, Engine, type GenerateRequest, type GenerationStep } from '@forerun/decoding';
import { WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { toyDecoder, type ToyOptions } from './toy-decoder.ts';

/** The language of the target. */
export const toy: ToyOptions = { vocabSize: 6, seed: 5, order: 2, scale: 6 };

/** An engine over the toy for conversations of 120 tokens. */
export async function smallEngine(): Promise<Engine> {
  const device = await testDevice();
  return Engine.create({
    device,
    decoder: toyDecoder(toy),
    verifier: sampleAndMatch(),
    noise: philoxNoise,
    weights: { store: new WeightStore(device), fill: async () => undefined },
    capacityTokens: 120,
    chunkTokens: [16],
  });
}

/** Writes token 3 as `<3>`. */
export const numbered = (): Detokenizer => ({ push: (token) => `<${token}>`, flush: () => '' });

/** Runs a request to its end on a conversation of its own; what `before` does to it comes first. */
export async function small(
  engine: Engine,
  drafter: Drafter | undefined,
  request: GenerateRequest,
  before: (conversation: Conversation) => void = () => undefined,
) {
  using conversation = engine.open(drafter ? { drafter } : {});
  before(conversation);
  const steps: GenerationStep[] = [];
  for await (const step of conversation.generate(request)) steps.push(step);
  const { statistics } = conversation;
  return {
    tokens: conversation.tokens.slice(request.prompt.length),
    text: steps.map(({ text }) => text).join(''),
    steps,
    statistics: statistics!,
    accepted: steps.reduce((sum, { accepted }) => sum + accepted, 0),
  };
}
