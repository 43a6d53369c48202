/** Trees whose children were drawn: what rejection sampling keeps of them has the target's distribution. */
import type { Drafter } from '@forerun/contracts';
import { Engine } from '@forerun/decoding';
import { medusa } from '@forerun/drafters';
import { type Tensor, WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { philoxNoise, rejectionSampling, sampleAndMatch } from '@forerun/verifiers';
import { describe, expect, test } from 'vitest';
import { toyDecoder } from './toy-decoder.ts';

const device = await testDevice();
const vocabSize = 5;
const engine = await Engine.create({
  device,
  decoder: toyDecoder({ vocabSize, seed: 8, order: 1, scale: 3 }),
  verifier: sampleAndMatch(),
  noise: philoxNoise,
  weights: { store: new WeightStore(device), fill: async () => undefined },
  capacityTokens: 40,
  chunkTokens: [4],
});

/** Heads that know nothing: they guess what followed the last token but one, each with a bent of its own. */
const heads = {
  needs: { hidden: 'after-norm' },
  hiddenSize: vocabSize,
  count: 2,
  weights: [],
  logits: (hidden: Tensor, head: number) =>
    hidden.mul(0.5).add(
      hidden.graph.constant(
        Float32Array.from({ length: vocabSize }, (_, i) => ((i + head) % 3) * 0.8),
        [1, vocabSize],
      ),
    ),
} as const;

const runs = 40;
const newTokens = 24;

/** How often each token followed each, and drafts that were accepted. A token of this toy depends on the one before it alone. */
async function transitions(drafter: Drafter | undefined, firstSeed: number) {
  const counts = new Float64Array(vocabSize * vocabSize);
  const conversation = engine.open(drafter ? { drafter, verifier: rejectionSampling() } : {});
  let accepted = 0;
  for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
    const request = {
      prompt: [1, 2, 3, 4, seed % vocabSize],
      maxTokens: newTokens,
      sampling: { temperature: 1, seed },
    };
    for await (const step of conversation.generate({ ...request, width: drafter ? 8 : 1 })) accepted += step.accepted;
    const { tokens } = conversation;
    for (let at = 5; at < tokens.length; at++) counts[tokens[at - 1]! * vocabSize + tokens[at]!]!++;
  }
  conversation.close();
  return { counts, accepted };
}

const plain = await transitions(undefined, 1);

/**
 * Of two samples of the rows of one matrix: 5 x 4 degrees of freedom, 45.3 at the 0.1 % level. Both have about as many transitions.
 */
function chiSquare(own: Float64Array): number {
  let statistic = 0;
  for (let before = 0; before < vocabSize; before++) {
    const [a, b] = [own, plain.counts].map((all) => all.subarray(before * vocabSize, (before + 1) * vocabSize));
    const [inA, inB] = [a!, b!].map((row) => row.reduce((sum, count) => sum + count, 0));
    a!.forEach((count, token) => {
      const share = (count + b![token]!) / (inA! + inB!);
      if (share === 0) return;
      statistic += (count - inA! * share) ** 2 / (inA! * share) + (b![token]! - inB! * share) ** 2 / (inB! * share);
    });
  }
  return statistic;
}

describe('drawn children', () => {
  test.each([
    ['consecutive ranks', [[0], [1], [2], [0, 0], [0, 1], [1, 0]]],
    ['ranks with gaps', [[1], [3], [1, 2], [3, 1]]],
  ])('%s', async (_, tree) => {
    const got = await transitions(medusa(heads, { tree, children: 'drawn' }), 1001);
    expect(got.accepted).toBeGreaterThan((runs * newTokens) / 8);
    expect(chiSquare(got.counts)).toBeLessThan(45.3);
  });

  test('a distribution that they were not drawn from shows', async () => {
    const honest = medusa(heads, { tree: [[0], [1]], children: 'drawn' });
    const liar: Drafter = {
      ...honest,
      propose(round, state) {
        const tree = honest.propose(round, state);
        // As if each draft had been unlikely: all are accepted.
        const even = new Float32Array(tree.width * vocabSize).fill(0.01);
        return { ...tree, distribution: round.length.graph.constant(even, [tree.width, vocabSize]) };
      },
    };
    expect(chiSquare((await transitions(liar, 1001)).counts)).toBeGreaterThan(45.3);
  });
});
