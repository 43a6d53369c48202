/** Decoding with heads gives plain decoding's tokens, and heads that were trained for the target are right often. */
import { type Checkpoint, memorySource, openCheckpoint } from '@forerun/checkpoints';
import type { Drafter } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { Engine, type GenerateRequest } from '@forerun/decoding';
import { block, eagle, hydra, medusa } from '@forerun/drafters';
import { blockHead, eagleHead, hydraHeads, medusaHeads } from '@forerun/mtp';
import { WeightStore } from '@forerun/tensor';
import { randomSource, testDevice } from '@forerun/tensor/harness';
import { philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { fillWeights, type OwnedWeights } from 'forerun/check';
import { describe, expect, test } from 'vitest';
import { goldenCase, owning, targetLlama } from './golden-case.ts';

const device = await testDevice();
const target = await targetLlama();
const { decoder } = target;
const owned: OwnedWeights[] = [{ checkpoint: target.checkpoint, weights: target.weights }];
const store = new WeightStore(device);
const engine = await Engine.create({
  device,
  decoder,
  verifier: sampleAndMatch(),
  noise: philoxNoise,
  weights: { store, fill: (weights) => fillWeights(store, owned, weights) },
  capacityTokens: 120,
  chunkTokens: [16],
});

const own = owning(owned);

const targetConfig = await target.checkpoint.config();
const eagleOf = async (name: string) =>
  eagle(await own(goldenCase(name).open(), (checkpoint) => eagleHead(checkpoint, decoder)), { tree: 'chain' });
const medusaOf = async (file: string) =>
  medusa(await own(goldenCase('medusa-heads').open(file), (checkpoint) => medusaHeads(checkpoint, decoder)), {
    tree: 'chain',
  });
const hydraOf = async (name: string) =>
  hydra(
    await own(goldenCase(name).open('hydra_lm_head.safetensors'), (one) => hydraHeads(one, decoder, { targetConfig })),
    { tree: 'chain' },
  );

/** A block drafter of one layer with random weights. */
function randomBlock(causal: boolean): Promise<Checkpoint> {
  const [D, F, E] = [64, 32, 16];
  const layer = 'layers.0';
  const shapes: Readonly<Record<string, readonly number[]>> = {
    fc: [D, 2 * D],
    hidden_norm: [D],
    norm: [D],
    [`${layer}.self_attn.q_proj`]: [D, D],
    [`${layer}.self_attn.k_proj`]: [2 * E, D],
    [`${layer}.self_attn.v_proj`]: [2 * E, D],
    [`${layer}.self_attn.o_proj`]: [D, D],
    [`${layer}.self_attn.q_norm`]: [E],
    [`${layer}.self_attn.k_norm`]: [E],
    [`${layer}.mlp.gate_proj`]: [F, D],
    [`${layer}.mlp.up_proj`]: [F, D],
    [`${layer}.mlp.down_proj`]: [D, F],
    [`${layer}.input_layernorm`]: [D],
    [`${layer}.post_attention_layernorm`]: [D],
  };
  const config = {
    ...targetConfig,
    num_hidden_layers: 1,
    intermediate_size: F,
    block_size: 6,
    num_target_layers: 8,
    dflash_config: { mask_token_id: 0, target_layer_ids: [1, 5], causal_head: causal },
  };
  let end = 0;
  const header = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const begin = end;
      end += 4 * shape.reduce((product, size) => product * size, 1);
      return [`${name}.weight`, { dtype: 'F32', shape, data_offsets: [begin, end] }];
    }),
  );
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  const random = randomSource(1);
  bytes.set(new Uint8Array(Float32Array.from({ length: end / 4 }, () => random.normal() / 4).buffer), 8 + text.length);
  const files = new Map([
    ['config.json', new TextEncoder().encode(JSON.stringify(config))],
    ['model.safetensors', bytes],
  ]);
  return openCheckpoint(memorySource(files));
}

const blockOf = async (causal: boolean) =>
  block(await own(randomBlock(causal), (one) => blockHead(one, decoder)), { tree: 'chain' });

/** Drafters, and the share of drafts that is accepted at least, greedily. */
const drafters: Readonly<Record<string, { readonly drafter: Drafter; readonly accepted: number }>> = {
  eagle1: { drafter: await eagleOf('eagle1'), accepted: 0.3 },
  eagle3: { drafter: await eagleOf('eagle3'), accepted: 0.3 },
  'eagle3-full-vocab': { drafter: await eagleOf('eagle3-full-vocab'), accepted: 0.3 },
  medusa: { drafter: await medusaOf('medusa_lm_head_v1.safetensors'), accepted: 0.3 },
  'hydra-mlp': { drafter: await hydraOf('hydra-mlp'), accepted: 0.3 },
  'hydra-prefix-mlp': { drafter: await hydraOf('hydra-prefix-mlp'), accepted: 0.3 },
  // These were not trained.
  'block, random': { drafter: await blockOf(false), accepted: 0 },
  'causal block, random': { drafter: await blockOf(true), accepted: 0 },
};

const { prompt: given, new_tokens: continuation } = goldenCase('target-llama').facts['greedy'] as {
  readonly prompt: readonly number[];
  readonly new_tokens: readonly number[];
};
/** Longer than a prefill chunk, so that heads are prefilled in two. */
const prompt = [...given, ...continuation.slice(0, 10)];

interface Turn extends GenerateRequest {
  readonly prompt: readonly number[];
}

/** Runs turns on one conversation; each goes on from what was said. */
async function talk(drafter: Drafter | undefined, turns: (said: () => readonly number[]) => Iterable<Turn>) {
  const conversation = engine.open(drafter ? { drafter } : {});
  const results: { readonly tokens: readonly number[]; readonly drafted: number; readonly accepted: number }[] = [];
  for (const turn of turns(() => conversation.tokens)) {
    for await (const step of conversation.generate(turn)) expect(step.tokens.length).toBeGreaterThan(0);
    const { draftedTokens, acceptedTokens } = conversation.statistics!;
    results.push({ tokens: [...conversation.tokens], drafted: draftedTokens, accepted: acceptedTokens });
  }
  conversation.close();
  return results;
}

const samplings: readonly GenerateRequest['sampling'][] = [
  {},
  { temperature: 0.8, seed: 3 },
  { temperature: 1.2, topK: 20, topP: 0.95, seed: 4, repetitionPenalty: 1.1 },
];

/** Three turns of these widths. */
const turns = (widths: readonly [number, number, number]) =>
  function* (said: () => readonly number[]): Generator<Turn> {
    yield { prompt, maxTokens: 12, width: widths[0] };
    yield { prompt: [...said(), 95, 146], maxTokens: 10, width: widths[1] };
    // Six tokens are taken back.
    yield { prompt: said().slice(0, -6), maxTokens: 20, width: widths[2] };
  };

const turnOf = (sampling: GenerateRequest['sampling']) => ({ prompt, maxTokens: 40, ...(sampling && { sampling }) });

/** What the target says alone, which is one for all drafters. */
const plainRuns = await Promise.all(
  samplings.map(async (sampling) => (await talk(undefined, () => [{ ...turnOf(sampling), width: 1 }]))[0]!),
);
const plainTurns = await talk(undefined, turns([1, 1, 1]));

test('the target says what the golden says', () => {
  expect(plainRuns[0]!.tokens.slice(prompt.length, prompt.length + 30)).toEqual(continuation.slice(10));
});

describe.each(Object.entries(drafters))('%s', (name, { drafter, accepted }) => {
  test("gives plain decoding's tokens", async () => {
    for (const [index, sampling] of samplings.entries()) {
      const [run] = await talk(drafter, () => [{ ...turnOf(sampling), width: 4 }]);
      console.info(`${name}, sampling ${index}: ${run!.accepted} of ${run!.drafted} drafts accepted`);
      expect(run!.tokens).toEqual(plainRuns[index]!.tokens);
      expect(run!.drafted).toBeGreaterThan(8);
      if (index === 0) expect(run!.accepted / run!.drafted).toBeGreaterThanOrEqual(accepted);
    }
  });

  test('goes on after rounds without it, and after tokens were taken back', async () => {
    const run = await talk(drafter, turns([4, 1, 4]));
    expect(run.map(({ tokens }) => tokens)).toEqual(plainTurns.map(({ tokens }) => tokens));
    expect(run[1]!.drafted).toBe(0);
    expect(run[2]!.accepted).toBeGreaterThanOrEqual(accepted > 0 ? 2 : 0);
  });
});

test('eagle-loop: EAGLE-3 drafts and keeps what the published loop does, round by round', async () => {
  interface LoopRun {
    readonly name: string;
    readonly prompt: readonly number[];
    readonly tokens: readonly number[];
    readonly rounds: readonly { readonly tree_tokens: readonly number[]; readonly accept_length: number }[];
  }
  const runs = goldenCase('eagle-loop').facts['runs'] as readonly LoopRun[];
  const { prompt: begin, tokens, rounds } = runs.find(({ name }) => name === 'eagle3_chain')!;
  // The published loop takes the first token from the prompt's own pass.
  const head = await own(goldenCase('eagle3').open(), (checkpoint) => eagleHead(checkpoint, decoder));
  const conversation = engine.open({ drafter: eagle(head, { tree: 'chain', depth: 4 }) });
  const steps: { readonly drafts: readonly number[]; readonly accepted: number }[] = [];
  const request = { prompt: [...begin, tokens[0]!], maxTokens: tokens.length, width: 8 };
  for await (const { drafts, accepted } of conversation.generate(request)) steps.push({ drafts, accepted });
  expect(conversation.tokens.slice(begin.length, begin.length + tokens.length)).toEqual(tokens);
  // The last round meets the end of the budget.
  expect(steps.slice(0, rounds.length - 1)).toEqual(
    rounds.slice(0, -1).map((round) => ({ drafts: round.tree_tokens.slice(1), accepted: round.accept_length })),
  );
  conversation.close();
});

test('heads refuse a conversation that is longer than they were made for', () => {
  for (const { drafter } of [drafters['eagle3']!, drafters['hydra-prefix-mlp']!]) {
    expect(() => drafter.state(513, { rollbackTokens: 0 })).toThrow(MismatchedPartsError);
    expect(() => drafter.state(513, { rollbackTokens: 0 })).toThrow(/512.* 513/);
  }
});
