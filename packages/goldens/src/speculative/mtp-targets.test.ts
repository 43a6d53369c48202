/** Models that bring a prediction module of their own: the model, and decoding with its module. */
import { mtp } from '@forerun/drafters';
import { Engine, type GenerateRequest } from '@forerun/decoding';
import { loadModel } from '@forerun/models';
import { mtpHead } from '@forerun/mtp';
import { WeightStore } from '@forerun/tensor';
import { relativeError, testDevice } from '@forerun/tensor/harness';
import { philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { CaseGraphs, chainRows, fillWeights, type OwnedWeights } from 'forerun/check';
import { describe, expect, test } from 'vitest';
import { goldenCase } from './golden-case.ts';

const device = await testDevice();

async function open(name: string) {
  const golden = goldenCase(name);
  const checkpoint = await golden.open();
  const model = await loadModel(checkpoint);
  return { golden, checkpoint, ...model };
}

interface Run {
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
}

describe.each([
  // The weights of this one are random, so that its module knows nothing.
  ['mtp-mimo', 'hidden_post_norm', 0],
  ['mtp-glm4-moe', 'target_hidden', 0.5],
  ['mtp-deepseek-v3', 'target_hidden', 0.5],
] as const)('%s', (name, hiddenName, accepted) => {
  test('logits and normed hidden states of the model', async () => {
    const { golden, checkpoint, decoder, weights } = await open(name);
    const ids = (await golden.tensor('forward.input_ids')).data;
    const state = decoder.state(64, { rollbackTokens: 0 });
    const runner = new CaseGraphs(device, { owned: [{ checkpoint, weights }], states: state.states });
    const [hidden, logits] = await Promise.all(
      [hiddenName, 'target_logits'].map((part) => golden.tensor(`forward.${part}`)),
    );
    const out = await runner.run((graph) => {
      const tokens = chainRows(graph, ids.subarray(0, hidden!.shape[0]!), 0);
      const normed = decoder.norm(decoder.forward(tokens, state).hidden);
      return { normed, logits: decoder.head(normed) };
    });
    const errors = {
      normed: relativeError(out['normed']!, hidden!.data),
      logits: relativeError(out['logits']!, logits!.data),
    };
    console.info(name, errors);
    expect(errors.normed).toBeLessThanOrEqual(5e-5);
    expect(errors.logits).toBeLessThanOrEqual(5e-5);
    runner.destroy();
  });

  test("decodes with its module to plain decoding's tokens, and those of the golden runs", async () => {
    const { golden, checkpoint, decoder, weights } = await open(name);
    const head = await mtpHead(checkpoint, decoder);
    const owned: OwnedWeights[] = [
      { checkpoint, weights },
      { checkpoint, weights: head.weights },
    ];
    const store = new WeightStore(device);
    const engine = await Engine.create({
      device,
      decoder,
      verifier: sampleAndMatch(),
      noise: philoxNoise,
      weights: { store, fill: (wanted) => fillWeights(store, owned, wanted) },
      capacityTokens: 64,
      chunkTokens: [16],
    });
    const drafter = mtp(head);
    const talk = async (request: GenerateRequest, width: number) => {
      const conversation = engine.open({ drafter });
      for await (const step of conversation.generate({ ...request, width }))
        expect(step.tokens.length).toBeGreaterThan(0);
      const { draftedTokens, acceptedTokens } = conversation.statistics!;
      const tokens = [...conversation.tokens].slice(request.prompt.length);
      conversation.close();
      return { tokens, draftedTokens, acceptedTokens };
    };
    const runs = (golden.facts['runs'] ?? [{ prompt: [1, 5, 9, 40, 41, 42], tokens: [] }]) as readonly Run[];
    for (const { prompt, tokens } of runs) {
      const maxTokens = tokens.length || 24;
      const plain = await talk({ prompt, maxTokens }, 1);
      if (tokens.length > 0) expect(plain.tokens).toEqual(tokens);
      for (const width of [2, 4]) {
        const run = await talk({ prompt, maxTokens }, width);
        console.info(`${name}, width ${width}: ${run.acceptedTokens} of ${run.draftedTokens} drafts accepted`);
        expect(run.tokens).toEqual(plain.tokens);
        expect(run.draftedTokens).toBeGreaterThan(5);
        if (width === 2) expect(run.acceptedTokens / run.draftedTokens).toBeGreaterThanOrEqual(accepted);
      }
      const sampling = { temperature: 1, seed: 2 };
      const sampled = await talk({ prompt, maxTokens, sampling }, 1);
      expect((await talk({ prompt, maxTokens, sampling }, 4)).tokens).toEqual(sampled.tokens);
    }
    engine.destroy();
  });
});
