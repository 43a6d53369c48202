/** Drafts drawn from a draft model's own distribution, in the loop: what is kept has the target's distribution. */
import type { Verifier } from '@forerun/contracts';
import { Engine } from '@forerun/decoding';
import { draftModel } from '@forerun/drafters';
import { WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import {
  blockVerification,
  philoxNoise,
  rejectionSampling,
  sampleAndMatch,
  traversalVerification,
} from '@forerun/verifiers';
import { CaseGraphs, chainRows } from 'forerun/check';
import { describe, expect, it } from 'vitest';

import { toyDecoder, type ToyOptions } from './toy-decoder.ts';

const device = await testDevice();
const vocabSize = 5;
/** A token depends on the one before it only, so that a long text is many draws of a few distributions. */
const toy: ToyOptions = { vocabSize, seed: 5, order: 1, scale: 3 };
const decoder = toyDecoder(toy);
const generated = 600;
const engine = await Engine.create({
  device,
  decoder,
  verifier: sampleAndMatch(),
  noise: philoxNoise,
  weights: { store: new WeightStore(device), fill: async () => undefined },
  capacityTokens: generated + 10,
  chunkTokens: [16],
});
const draft = toyDecoder({ ...toy, mistakes: 2 });
const drafter = draftModel({ decoder: draft, children: 'drawn' });
const temperature = 0.9;

/** The target's distribution behind each token, of its four most likely. */
async function targetDistributions(): Promise<number[][]> {
  const state = decoder.state(vocabSize, { rollbackTokens: 0 });
  const runner = new CaseGraphs(device, { owned: [], states: state.states });
  const tokens = Array.from({ length: vocabSize }, (_, token) => token);
  const { logits } = await runner.run((graph) => ({
    logits: decoder.forward(chainRows(graph, tokens, 0), state).hidden,
  }));
  runner.destroy();
  return tokens.map((token) => {
    const row = Array.from(logits!.subarray(token * vocabSize, (token + 1) * vocabSize));
    const least = Math.min(...row);
    const weights = row.map((logit) => (logit === least ? 0 : Math.exp(logit / temperature)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map((weight) => weight / total);
  });
}

const distributions = await targetDistributions();

async function run(
  verifier: Verifier,
  sampling: { temperature: number; topK?: number; seed?: number },
  maxTokens: number,
) {
  const conversation = engine.open({ verifier, drafter });
  for await (const step of conversation.generate({ prompt: [1, 2], maxTokens, width: 4, sampling }))
    expect(step.tokens.length).toBeGreaterThan(0);
  const { draftedTokens, acceptedTokens } = conversation.statistics!;
  const tokens = conversation.tokens.slice(1);
  conversation.close();
  return { tokens, accepted: acceptedTokens / draftedTokens };
}

describe('drafts that are drawn', () => {
  it.each([
    ['rejectionSampling', rejectionSampling()],
    ['blockVerification', blockVerification()],
    ['traversalVerification', traversalVerification()],
  ])('and judged by %s give the distribution of the target', async (_, verifier) => {
    const { tokens, accepted } = await run(verifier, { temperature, topK: vocabSize - 1, seed: 3 }, generated);
    console.info(`${verifier.name}: ${(100 * accepted).toFixed(1)} % of the drafts accepted`);
    expect(accepted).toBeGreaterThan(0.3);
    expect(accepted).toBeLessThan(0.95);
    let [statistic, freedom] = [0, 0];
    for (const [before, p] of distributions.entries()) {
      const counts = Array.from({ length: vocabSize }, () => 0);
      tokens.slice(1).forEach((token, i) => tokens[i] === before && counts[token]!++);
      const total = counts.reduce((sum, count) => sum + count, 0);
      counts.forEach((count, token) => {
        if (p[token] === 0) expect(count).toBe(0);
        else statistic += (count - total * p[token]!) ** 2 / Math.max(total * p[token]!, 1);
      });
      freedom += total > 0 ? p.filter((chance) => chance > 0).length - 1 : 0;
    }
    console.info(`chi-square ${statistic.toFixed(1)} with ${freedom} degrees of freedom`);
    expect(freedom).toBeGreaterThan(8);
    expect(statistic).toBeLessThan(freedom + 3 * Math.sqrt(2 * freedom));
  });

  it('say what plain decoding says at temperature 0', async () => {
    const plain = engine.open();
    for await (const step of plain.generate({ prompt: [1, 2], maxTokens: 30 })) expect(step.drafts).toEqual([]);
    const expected = plain.tokens.slice(1);
    plain.close();
    expect((await run(rejectionSampling(), { temperature: 0 }, 30)).tokens).toEqual(expected);
    expect((await run(blockVerification(), { temperature: 0 }, 30)).tokens).toEqual(expected);
  });
});
