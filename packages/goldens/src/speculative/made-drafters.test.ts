/** Drafters that published sets have no case for, held to re-implementations in PyTorch: token recycling and independent heads. */
import { readFileSync } from 'node:fs';
import { type Conversation, Engine, type GenerateRequest } from '@forerun/decoding';
import { independent, staticTree, tokenRecycling } from '@forerun/drafters';
import { MismatchedPartsError } from '@forerun/contracts';
import { loadModel } from '@forerun/models';
import { HeadConfigError, independentHeads } from '@forerun/mtp';
import { WeightStore } from '@forerun/tensor';
import { relativeError, testDevice } from '@forerun/tensor/harness';
import { greedy, philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { CaseGraphs, chainRows, fillWeights, type OwnedWeights } from 'forerun/check';
import { describe, expect, test } from 'vitest';
import { goldenCase, targetLlama } from './golden-case.ts';

interface RecordedRound {
  readonly proposed: readonly number[];
  readonly tokens: readonly number[];
}

const device = await testDevice();

function engineOf(
  decoder: Parameters<typeof Engine.create>[0]['decoder'],
  owned: readonly OwnedWeights[],
): Promise<Engine> {
  const store = new WeightStore(device);
  return Engine.create({
    device,
    decoder,
    verifier: greedy(),
    noise: philoxNoise,
    weights: { store, fill: (wanted) => fillWeights(store, owned, wanted) },
    capacityTokens: 64,
    chunkTokens: [16],
  });
}

/** Rounds as recorded; drafts that the drafter pads its round with do not count. */
async function follow(conversation: Conversation, request: GenerateRequest, drafts: number): Promise<RecordedRound[]> {
  const rounds: RecordedRound[] = [];
  for await (const step of conversation.generate(request)) {
    rounds.push({ proposed: step.drafts.slice(0, drafts), tokens: step.tokens });
  }
  return rounds;
}

/** The last round of a run is cut at its limit. */
function expectRounds(rounds: readonly RecordedRound[], recorded: readonly RecordedRound[]): void {
  expect(rounds).toHaveLength(recorded.length);
  expect(rounds.slice(0, -1)).toEqual(recorded.slice(0, -1));
  expect(recorded.some(({ tokens }) => tokens.length > 1)).toBe(true);
}

test('token recycling: trees, kept tokens and the matrix of a run', async () => {
  const golden = JSON.parse(
    readFileSync(new URL('../../fixtures/speculative/token-recycling.json', import.meta.url), 'utf8'),
  ) as {
    tree: number[][];
    prompt: number[];
    tokens: number[];
    rounds: RecordedRound[];
    matrix: Record<string, number[]>;
  };
  const { decoder, checkpoint, weights } = await targetLlama();
  const engine = await engineOf(decoder, [{ checkpoint, weights }]);
  const { vocabSize } = decoder;
  const drafter = tokenRecycling({ vocabSize, tree: () => staticTree(golden.tree) });
  const conversation = engine.open({ drafter });
  const { matrix } = engine.speculation(drafter).drafterState as ReturnType<typeof drafter.state>;
  // The published matrix begins with zeros.
  conversation.states.write(matrix, new Uint32Array(vocabSize * 8));
  const request = { prompt: golden.prompt, maxTokens: golden.tokens.length, width: 32 };
  expectRounds(await follow(conversation, request, golden.tree.length), golden.rounds);
  expect(conversation.tokens.slice(golden.prompt.length)).toEqual(golden.tokens);
  const words = await conversation.states.read(matrix);
  for (let token = 0; token < vocabSize; token++) {
    const row = Array.from(words.subarray(8 * token, 8 * token + 8));
    expect(row, `row ${token} of the matrix`).toEqual(golden.matrix[token] ?? Array.from({ length: 8 }, () => 0));
  }
  conversation.close();
  engine.destroy();
});

describe('independent heads', async () => {
  const golden = goldenCase('independent-heads');
  const json = async (file: string) =>
    JSON.parse(new TextDecoder().decode(await golden.source.readWhole(file, { maxBytes: 1 << 16 }))) as Record<
      string,
      unknown
    >;
  const checkpoint = await golden.open('model.safetensors');
  const { decoder, weights } = await loadModel(checkpoint);
  const target = { checkpoint, weights };
  const file = await golden.open('heads.pth');
  const config = await json('params.json');
  const heads = independentHeads(file, decoder, { config });
  const owned = [target, { checkpoint: file, weights: heads.weights }];

  test('logits of every head, and of the target', async () => {
    const tokens = golden.facts['tokens'] as number[];
    const expected = await golden.tensor('logits');
    const size = expected.data.length / (heads.count + 1);
    const state = decoder.state(64, { rollbackTokens: 0 });
    const own = heads.state(64, { rollbackTokens: 0 });
    const runner = new CaseGraphs(device, { owned, states: [...state.states, ...own.states] });
    const out = await runner.run((graph) => {
      const rows = chainRows(graph, tokens, 0);
      const { hidden, taps } = decoder.forward(rows, state, { taps: heads.needs.taps });
      const all = [hidden, ...heads.forward(rows, taps[0]!, own)].map((one) => heads.logits(one));
      return { trunk: taps[0]!, ...Object.fromEntries(all.map((one, head) => [`head ${head}`, one])) };
    });
    expect(relativeError(out['trunk']!, (await golden.tensor('trunk')).data)).toBeLessThanOrEqual(2e-5);
    for (let head = 0; head <= heads.count; head++) {
      const want = expected.data.subarray(head * size, (head + 1) * size);
      expect(relativeError(out[`head ${head}`]!, want), `head ${head}`).toBeLessThanOrEqual(2e-5);
    }
    runner.destroy();
  });

  test('rounds of a run, and the same tokens as plain decoding from trees and with sampling', async () => {
    const { prompt, generated, rounds } = golden.facts as {
      prompt: number[];
      generated: number[];
      rounds: RecordedRound[];
    };
    const engine = await engineOf(decoder, owned);
    const conversation = engine.open({ drafter: independent(heads, { tree: 'chain' }) });
    const request = { prompt, maxTokens: generated.length, width: 4 };
    expectRounds(await follow(conversation, request, heads.count), rounds);
    expect(conversation.tokens.slice(prompt.length)).toEqual(generated);
    conversation.close();

    const verifier = sampleAndMatch();
    const sampled = { ...request, sampling: { temperature: 0.9, seed: 3 } };
    const outcomes = await Promise.all(
      [{ verifier }, { verifier, drafter: independent(heads) }].map(async (options) => {
        const other = engine.open(options);
        const steps = await follow(other, { ...sampled, width: 8 }, 8);
        const tokens = [...other.tokens];
        other.close();
        return { tokens, rounds: steps.length };
      }),
    );
    expect(outcomes[1]!.tokens).toEqual(outcomes[0]!.tokens);
    expect(outcomes[1]!.rounds).toBeLessThan(outcomes[0]!.rounds);
    engine.destroy();
  });

  test('take their sizes from the config.json of the target too, and refuse what does not fit', async () => {
    const again = independentHeads(file, decoder, { config: await json('config.json') });
    expect(again.count).toBe(heads.count);
    expect(again.maxPositions).toBe(64);
    expect(() => independentHeads(file, { ...decoder, hiddenSize: 96 }, { config })).toThrow(MismatchedPartsError);
    expect(() => independentHeads(file, { ...decoder, hiddenSize: 96 }, { config })).toThrow(/hidden size 32.* has 96/);
    expect(() => independentHeads(checkpoint, decoder, { config })).toThrow(HeadConfigError);
    const { norm_eps: _, ...rest } = config;
    expect(() => independentHeads(file, decoder, { config: rest })).toThrow(/rms_norm_eps/);
  });
});
