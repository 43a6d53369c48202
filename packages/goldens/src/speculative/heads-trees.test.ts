/** Trees of heads: decoding with them leaves plain decoding's tokens and cache, up to the capacity, and they guess more than chains. */
import type { Drafter } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { Engine, type GenerateRequest } from '@forerun/decoding';
import { eagle, hydra, medusa } from '@forerun/drafters';
import { eagleHead, hydraHeads, medusaHeads } from '@forerun/mtp';
import { ArgumentError, WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import {
  greedy,
  philoxNoise,
  rejectionSampling,
  sampleAndMatch,
  traversalVerification,
  typicalAcceptance,
} from '@forerun/verifiers';
import { fillWeights, type OwnedWeights } from 'forerun/check';
import { describe, expect, test } from 'vitest';
import { fullRuns } from './full-runs.ts';
import { goldenCase, owning, targetLlama } from './golden-case.ts';

/** What trees need is there on every device: WebGPU's guaranteed limits, and no optional feature. */
const device = await testDevice({ limits: 'portable' });
const target = await targetLlama();
const { decoder } = target;
const owned: OwnedWeights[] = [{ checkpoint: target.checkpoint, weights: target.weights }];
const store = new WeightStore(device);
const { prompt: given, new_tokens: continuation } = goldenCase('target-llama').facts['greedy'] as {
  readonly prompt: readonly number[];
  readonly new_tokens: readonly number[];
};
const prompt = [...given, ...continuation.slice(0, 10)];
/** Every run ends where the conversation is full, in the middle of a tree. */
const capacityTokens = prompt.length + 17;
const engine = await Engine.create({
  device,
  decoder,
  verifier: sampleAndMatch(),
  noise: philoxNoise,
  weights: { store, fill: (weights) => fillWeights(store, owned, weights) },
  capacityTokens,
  chunkTokens: [16],
});

const own = owning(owned);

const targetConfig = await target.checkpoint.config();
const eagle1 = await own(goldenCase('eagle1').open(), (one) => eagleHead(one, decoder));
const eagle3 = await own(goldenCase('eagle3').open(), (one) => eagleHead(one, decoder));
const medusaV1 = await own(goldenCase('medusa-heads').open('medusa_lm_head_v1.safetensors'), (one) =>
  medusaHeads(one, decoder),
);
const hydraMlp = await own(goldenCase('hydra-mlp').open('hydra_lm_head.safetensors'), (one) =>
  hydraHeads(one, decoder, { targetConfig }),
);

const small = [[0], [1], [2], [0, 0], [0, 1], [1, 0], [0, 0, 0]];
const samplings: Readonly<Record<string, GenerateRequest['sampling']>> = {
  greedy: {},
  sampled: { temperature: 0.9, topP: 0.95, seed: 4 },
};

const { run, differingRows } = fullRuns(engine, prompt);

type Run = Awaited<ReturnType<typeof run>>;
const plain: Record<string, Run> = {};
for (const [name, sampling] of Object.entries(samplings)) plain[name] = await run(undefined, { width: 1, sampling });

/** Drafters and widths, and the tokens of a round that they reach at least: greedily, and sampled. */
const drafters: readonly [name: string, drafter: Drafter, width: number, tokens: Readonly<Record<string, number>>][] = [
  ['EAGLE, dynamic', eagle(eagle1, { topK: 5, depth: 5 }), 16, { greedy: 3, sampled: 3 }],
  ['EAGLE-3 with a vocabulary of its own, fixed', eagle(eagle3, { tree: small }), 8, { greedy: 2.5, sampled: 2 }],
  ['EAGLE-3, children by probability alone', eagle(eagle3, { tree: 'dynamic', children: 'most-likely' }), 4, {}],
  ['Medusa, best first', medusa(medusaV1), 8, { greedy: 1.5 }],
  ['Medusa, published', medusa(medusaV1, { tree: 'mc_sim_7b_63' }), 16, { greedy: 1.5 }],
  ['Hydra, dynamic', hydra(hydraMlp, { topK: 4 }), 8, { greedy: 2, sampled: 1.5 }],
  ['Hydra, a part of a fixed tree', hydra(hydraMlp, { tree: small }), 4, { greedy: 1.5 }],
];

describe.each(drafters)('%s', (_, drafter, width, least) => {
  test.each(Object.keys(samplings))("leaves plain decoding's tokens and cache: %s", async (name) => {
    const got = await run(drafter, { width, sampling: samplings[name] });
    expect(got.tokens).toEqual(plain[name]!.tokens);
    expect(differingRows(got.cache, plain[name]!.cache)).toEqual([]);
    expect(got.draftedTokens).toBeGreaterThan(got.rounds);
    expect(got.acceptanceLength).toBeGreaterThanOrEqual(least[name] ?? 1);
  });
});

describe('64 rows', () => {
  const published = (children: 'coupled' | 'drawn') => medusa(medusaV1, { tree: 'mc_sim_7b_63', children });
  test.each([
    ['sample-and-match, grown', sampleAndMatch(), eagle(eagle1)],
    ['greedy, best first', greedy(), medusa(medusaV1)],
    ['typical acceptance', typicalAcceptance(), published('coupled')],
    ['rejection sampling', rejectionSampling(), published('drawn')],
    ['traversal verification', traversalVerification(), published('drawn')],
  ] as const)('under %s', async (_, verifier, drafter) => {
    const got = await run(drafter, { width: 64, verifier });
    expect(got.tokens).toEqual(plain['greedy']!.tokens);
    expect(differingRows(got.cache, plain['greedy']!.cache)).toEqual([]);
    expect(got.rounds).toBeLessThan(plain['greedy']!.rounds);
  });
});

test("a tree leaves the head's own cache as a chain does", async () => {
  const tree = await run(eagle(eagle1, { topK: 5, depth: 5 }), { width: 16 });
  const chain = await run(eagle(eagle1, { tree: 'chain' }), { width: 4 });
  expect(tree.drafterCache.length).toBeGreaterThan(0);
  // The anchor's row, and the row before it, whose next token has just been chosen, differ in when they are taken in.
  expect(differingRows(tree.drafterCache, chain.drafterCache)).toEqual([]);
  expect(tree.rounds).toBeLessThan(chain.rounds);
});

test('trees that cannot be made are refused', () => {
  const deep = [[0], [0, 0], [0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0, 0]];
  expect(() => medusa(medusaV1, { tree: deep })).toThrow(/1 to 4 levels.*got 5/);
  expect(() => medusa(medusaV1, { tree: [[1, 0]] })).toThrow(ArgumentError);
  expect(() => medusa(medusaV1, { topK: 0 })).toThrow(ArgumentError);
  expect(() => hydra(hydraMlp, { tree: 'mc_sim_7b_63' })).toThrow(/1 to 3 levels.*got 4/);
  expect(() => eagle(eagle1, { tree: 'dynamic', children: 'drawn' })).toThrow(/fixed form/);
  expect(() => eagle(eagle1, { tree: 'dynamic', topK: 40, depth: 10 })).toThrow(/at most 2048/);
  expect(() => eagle(eagle1, { depth: 0 })).toThrow(ArgumentError);
  expect(() => eagle(eagle1, { totalTokens: 1 })).toThrow(ArgumentError);
});

test('a target that verifies chains only gets chains, and refuses trees', async () => {
  const straight = await Engine.create({
    device,
    decoder: { ...decoder, branching: false },
    verifier: sampleAndMatch(),
    noise: philoxNoise,
    weights: { store, fill: (weights) => fillWeights(store, owned, weights) },
    capacityTokens,
    chunkTokens: [16],
  });
  const conversation = straight.open({ drafter: medusa(medusaV1) });
  for await (const { drafts } of conversation.generate({ prompt, width: 8 })) expect(drafts.length).toBeLessThan(5);
  expect(conversation.tokens).toEqual(plain['greedy']!.tokens);
  conversation.close();
  expect(() => straight.open({ drafter: medusa(medusaV1, { tree: 'best-first' }) })).toThrow(MismatchedPartsError);
});
