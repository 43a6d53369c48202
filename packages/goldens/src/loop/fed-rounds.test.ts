/** Plain rounds in a conversation with a drafter: it takes in what they gave, so that it can draft at once when its turn comes. */
import type { Drafter } from '@forerun/contracts';
import { Engine, type GenerateRequest } from '@forerun/decoding';
import { draftModel, eagle } from '@forerun/drafters';
import { eagleHead } from '@forerun/mtp';
import { WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { fillWeights, type OwnedWeights } from 'forerun/check';
import { afterAll, expect, it } from 'vitest';
import { goldenCase, targetLlama } from '../speculative/golden-case.ts';

const device = await testDevice();
const target = await targetLlama();
const checkpoint = await goldenCase('eagle3').open();
const head = await eagleHead(checkpoint, target.decoder);
const owned: readonly OwnedWeights[] = [target, { checkpoint, weights: head.weights }];
const store = new WeightStore(device);
const engine = await Engine.create({
  device,
  decoder: target.decoder,
  verifier: sampleAndMatch(),
  noise: philoxNoise,
  weights: { store, fill: (weights) => fillWeights(store, owned, weights) },
  capacityTokens: 100,
  chunkTokens: [16],
});
afterAll(() => engine.destroy());

const { prompt } = goldenCase('target-llama').facts['greedy'] as { readonly prompt: readonly number[] };

/** Says 12 tokens plainly; gives how far the drafter has come, and the drafts of the round behind them. */
async function plainThenDrafts(drafter: Drafter, plain: Pick<GenerateRequest, 'width' | 'widths'>) {
  const conversation = engine.open({ drafter });
  for await (const step of conversation.generate({ prompt, maxTokens: 12, ...plain })) expect(step.drafts).toEqual([]);
  const said = [...conversation.tokens];
  const { states } = engine.speculation(drafter).drafterState!;
  const progress = states.find(({ name }) => /\b(reach|held)$/.test(name))!;
  const [reach] = await conversation.states.read(progress);
  const drafts: (readonly number[])[] = [];
  for await (const step of conversation.generate({ prompt: said, maxTokens: 5, width: 2 })) drafts.push(step.drafts);
  const tokens = [...conversation.tokens];
  conversation.close();
  return { reach, saidTokens: said.length, first: drafts[0]!, tokens };
}

it.each([
  ['a head', eagle(head, { tree: 'chain' })],
  ['a draft model', draftModel({ decoder: target.decoder, catchUpTokens: 2 })],
])('%s takes in plain rounds that it is fed', async (_, drafter) => {
  await engine.speculation(drafter).fed();
  const unfed = await plainThenDrafts(drafter, { width: 1 });
  expect(unfed.reach).toBe(prompt.length - 1);
  expect(unfed.first).toEqual([]);
  const fed = await plainThenDrafts(drafter, { widths: [] });
  // The drafter has its turn in the last round of a run too; the anchor is no row yet.
  expect(fed.reach).toBe(fed.saidTokens - 1);
  expect(fed.tokens).toEqual(unfed.tokens);
  expect(fed.first).toHaveLength(1);
});
