/** Reports of rounds: the tree, its accepted path and its times say the same as the tokens and the statistics, and cost no submit. */
import type { Drafter } from '@forerun/contracts';
import type { GenerateRequest, GenerationStatistics, GenerationStep } from '@forerun/decoding';
import { Engine } from '@forerun/decoding';
import { nGram, replay } from '@forerun/drafters';
import { WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { expect, it, vi } from 'vitest';
import { bushes } from '../speculative/adversaries.ts';
import { toyDecoder } from '../speculative/toy-decoder.ts';

const device = await testDevice();
const engine = await Engine.create({
  device,
  decoder: toyDecoder({ vocabSize: 6, seed: 5, order: 2, scale: 6 }),
  verifier: sampleAndMatch(),
  noise: philoxNoise,
  weights: { store: new WeightStore(device), fill: async () => undefined },
  capacityTokens: 96,
  chunkTokens: [16],
});
const prompt = [1, 2, 3, 1, 2];
const maxTokens = 48;
const sampling = { temperature: 0.9, seed: 7 };

async function run(request: Partial<GenerateRequest>, drafter?: Drafter, recording?: readonly number[]) {
  using conversation = engine.open(drafter ? { drafter } : {});
  if (recording) {
    const [state] = engine.speculation(drafter).drafterState!.states;
    conversation.states.write(state!, Uint32Array.from(recording));
  }
  const submit = vi.spyOn(device.gpu.queue, 'submit');
  const steps: GenerationStep[] = [];
  try {
    for await (const step of conversation.generate({ prompt, maxTokens, sampling, ...request })) steps.push(step);
    return {
      steps,
      tokens: [...conversation.tokens],
      statistics: conversation.statistics!,
      submits: submit.mock.calls.length,
    };
  } finally {
    submit.mockRestore();
  }
}

/** At each depth, the share of rounds that accepted a draft there, of those that had one under the row that their path reached. */
function acceptanceByDepth(steps: readonly GenerationStep[]): number[] {
  const verified: number[] = [];
  const accepted: number[] = [];
  for (const { round } of steps) {
    const { path, disagreed } = round!;
    const reached = path.length - 1 + Number(disagreed);
    for (let depth = 0; depth < reached; depth++) verified[depth] = (verified[depth] ?? 0) + 1;
    for (let depth = 0; depth < path.length - 1; depth++) accepted[depth] = (accepted[depth] ?? 0) + 1;
  }
  return verified.map((count, depth) => (accepted[depth] ?? 0) / count);
}

function holdReports(
  steps: readonly GenerationStep[],
  statistics: GenerationStatistics,
  tokens: readonly number[],
): void {
  let at = prompt.length;
  for (const { round, ...step } of steps) {
    const { nodes, path, next, disagreed } = round!;
    const onPath = path.slice(1).map((row) => nodes[row]!.token);
    expect(nodes[0]).toEqual({ token: tokens[at - 1], parent: -1, depth: 0, accepted: true });
    expect(nodes.slice(1).map(({ token }) => token)).toEqual(step.drafts);
    expect([...onPath, next].slice(0, step.tokens.length)).toEqual(step.tokens);
    expect(path.length - 1).toBe(step.accepted);
    for (const [row, node] of nodes.entries()) {
      expect(node.parent).toBeLessThan(row);
      expect(node.accepted).toBe(path.includes(row));
      if (row > 0) expect(node.depth).toBe(nodes[node.parent]!.depth + 1);
    }
    const refused = nodes.filter(({ parent }) => parent === path.at(-1));
    expect(disagreed).toBe(refused.length > 0);
    expect(refused.map(({ token }) => token)).not.toContain(next);
    at += step.tokens.length;
  }
  expect(steps).toHaveLength(statistics.rounds);
  expect(acceptanceByDepth(steps)).toEqual(statistics.acceptanceByDepth);
}

const plain = await run({});

it.each([
  { name: 'trees', drafter: bushes(7), width: 16 },
  { name: 'deep trees', drafter: bushes(2), width: 16 },
  { name: 'chains of look-up', drafter: nGram(), width: 8 },
  {
    name: 'chains that are often right',
    drafter: replay({ corruption: 0.3, seed: 1 }),
    width: 4,
    recording: plain.tokens,
  },
  { name: 'plain rounds', drafter: undefined, width: 1 },
])('reports $name as they went', async ({ drafter, width, recording }) => {
  const quiet = await run({ width }, drafter, recording);
  const told = await run({ width, rounds: true }, drafter, recording);
  expect(told.tokens).toEqual(plain.tokens);
  holdReports(told.steps, told.statistics, told.tokens);
  expect(quiet.steps.some((step) => 'round' in step)).toBe(false);
  expect(quiet.statistics.times).toBeUndefined();
  expect(told.submits).toBe(quiet.submits);
  if (width > 1) expect(told.statistics.acceptedTokens).toBeGreaterThan(0);
});

it('tells a path that ends at a leaf from one behind which all drafts were refused', async () => {
  const everyToken = await run({ width: 16, rounds: true }, bushes(7));
  expect(everyToken.steps.map(({ round }) => round!.disagreed)).not.toContain(true);
  const onlyZeros = await run({ width: 16, rounds: true }, bushes(2));
  expect(new Set(onlyZeros.steps.map(({ round }) => round!.disagreed))).toContain(true);
});

it('measures the parts of rounds by the clock of the device', async () => {
  const { steps, statistics } = await run({ width: 8, rounds: true }, bushes(2));
  expect(device.has('timestamp-query')).toBe(true);
  for (const part of ['draftMs', 'verifyMs', 'commitMs'] as const) {
    const sum = steps.reduce((total, { round }) => total + round!.times![part], 0);
    expect(statistics.times![part]).toBeCloseTo(sum, 6);
    expect(sum).toBeGreaterThanOrEqual(0);
  }
  expect(statistics.times!.verifyMs).toBeGreaterThan(0);
});
