/**
 * A model with a recurrent state beside its caches, through the same loop: chains at any width say what plain decoding says, the state goes
 * back over rounds in flight and stop strings, and a conversation resumes from the nearest length that the state can restore.
 */
import { readdir, readFile } from 'node:fs/promises';
import { loadWeights, memorySource, openCheckpoint } from '@forerun/checkpoints';
import { loadModel } from '@forerun/models';
import { WeightStore, WeightUpload } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { load } from 'forerun';
import { ForwardRunner } from 'forerun/check';
import { afterAll, describe, expect, it } from 'vitest';
import { bushes } from '../speculative/adversaries.ts';
import { goldenFolder, numberDetokenizer, plainTokens, promptOf, Replays, run } from './golden-llama.ts';

const device = await testDevice();

/** The golden lfm2 as if it had been made for longer contexts: its rope has no other scale. */
async function longLfm2() {
  const folder = goldenFolder('lfm2');
  const names = await readdir(folder);
  const files = new Map<string, Uint8Array>();
  for (const name of names) files.set(name, await readFile(`${folder}/${name}`));
  const config = JSON.parse(new TextDecoder().decode(files.get('config.json'))) as object;
  files.set('config.json', new TextEncoder().encode(JSON.stringify({ ...config, max_position_embeddings: 4096 })));
  return memorySource(files);
}

const model = await load(await longLfm2(), { device, capacityTokens: 1400 });
const replays = new Replays(model);
const vocabSize = model.config.vocabSize;
const prompt = promptOf(21).map((token) => token % vocabSize);
const sampling = { temperature: 0.8, seed: 21 };
const plain = await plainTokens(model, { prompt, maxTokens: 40, sampling });
const recording = [...prompt, ...plain];
afterAll(() => model.close());

describe('lfm2 in the loop', () => {
  it('says at every width and rate of acceptance what it says plainly', async () => {
    for (const [corruption, width] of [
      [0, 4],
      [0.3, 8],
      [0.3, 2],
      [1, 16],
    ] as const) {
      using conversation = replays.open(recording, corruption);
      const { tokens } = await run(conversation, { prompt, maxTokens: 40, sampling, width });
      expect(tokens, `coin ${corruption}, width ${width}`).toEqual(plain);
    }
  });

  it('leaves the inputs of kept tokens as plain decoding leaves them, to the bit', async () => {
    const plainly = model.open({ drafter: 'none' });
    await run(plainly, { prompt, maxTokens: 40, sampling });
    const guessed = replays.open(recording, 0.3);
    await run(guessed, { prompt, maxTokens: 40, sampling, width: 8 });
    const records = model.engine.state.states.filter(({ name }) => name.endsWith('.inputs'));
    expect(records).toHaveLength(2);
    for (const record of records) {
      const kept = (prompt.length + 39) * record.shape[1]!;
      const [alone, among] = [await plainly.states.read(record), await guessed.states.read(record)];
      expect(among.subarray(0, kept)).toEqual(alone.subarray(0, kept));
    }
    plainly.close();
    guessed.close();
  });

  it('takes tokens back at a stop string and on leaving the loop, and goes on as if they had never been', async () => {
    const stopStrings = [`<${plain[9]}><${plain[10]}>`];
    const kept = [...prompt, ...plain.slice(0, 9)];
    for (const conversation of [model.open({ drafter: 'none' }), replays.open(recording)]) {
      const request = { prompt, maxTokens: 40, sampling, width: 8 };
      await run(conversation, { ...request, stopStrings, detokenizer: numberDetokenizer() });
      expect(conversation.tokens).toEqual(kept);
      const next = { prompt: [...kept, 77, 78], maxTokens: 12, sampling, width: 4 };
      expect((await run(conversation, next)).tokens).toEqual(await plainTokens(model, next));
      expect(conversation.statistics!.reusedTokens).toBe(kept.length - 1);
      for await (const step of conversation.generate(request)) if (step.tokens.length > 0) break;
      const rest = { ...request, prompt: [...conversation.tokens], maxTokens: 10 };
      expect((await run(conversation, rest)).tokens).toEqual(await plainTokens(model, rest));
      conversation.close();
    }
  });

  it('resumes from the nearest mark where the record has moved on, and only from what is marked', async () => {
    using conversation = model.open({ drafter: 'n-gram' });
    const begin = promptOf(100).map((token) => token % vocabSize);
    const { tokens } = await run(conversation, { prompt: begin, maxTokens: 6, width: 4 });
    const turn = [...begin, ...tokens];
    const long = [...turn, ...Array.from({ length: 900 }, (_, i) => (i * 31 + 7) % vocabSize)];
    await run(conversation, { prompt: long, maxTokens: 3, width: 4 });
    expect(conversation.statistics!.reusedTokens).toBe(turn.length - 1);

    const asked = async (from: readonly number[], reused: number) => {
      const request = { prompt: [...from, 3, 4, 5], maxTokens: 6, width: 4, sampling };
      const told = await run(conversation, request);
      expect(conversation.statistics!.reusedTokens).toBe(reused);
      expect(told.tokens).toEqual(await plainTokens(model, request));
    };
    // Behind the end of the first turn, the record still begins later: the mark at that turn's end counts.
    await asked(turn.slice(0, -1), turn.length - 1);
    // From there on the record holds what came since.
    await asked([...turn.slice(0, -1), 3, 4], turn.length + 1);
    await asked(begin.slice(0, 60), 0);
  });

  it('refuses a drafter that draws trees when it is opened, and runs those that can draw chains', async () => {
    expect(model.engine.decoder.branching).toBe(false);
    expect(() => model.engine.open({ drafter: bushes(2) })).toThrow(
      expect.objectContaining({
        code: 'mismatched-parts',
        message: expect.stringContaining('bushes of 2 proposes trees') as string,
      }) as Error,
    );
    expect(() => model.open({ drafter: 'early-exit' })).toThrow(
      expect.objectContaining({ code: 'mismatched-parts' }) as Error,
    );
    // Those that can draw chains do.
    expect(model.drafters).toEqual(['none', 'n-gram', 'suffix', 'token-recycling', 'lookahead']);
    for (const drafter of model.drafters.slice(2)) {
      using conversation = model.open({ drafter });
      expect((await run(conversation, { prompt, maxTokens: 40, sampling, width: 8 })).tokens, drafter).toEqual(plain);
    }
  });
});

it('a row has the same bits in every chunk size of the decode path', async () => {
  const checkpoint = await openCheckpoint(await longLfm2(), { weights: 'f32' });
  const { decoder, weights } = await loadModel(checkpoint);
  const store = new WeightStore(device);
  const chunkSizes = [1, 3, 32, 64];
  const runner = await ForwardRunner.compile(device, { decoder, weights: store }, { chunkSizes, capacityTokens: 70 });
  await loadWeights(checkpoint, weights, new WeightUpload(store));
  const ids = Uint32Array.from(promptOf(70), (token) => token % vocabSize);
  const passes: Float32Array[] = [];
  for (const size of chunkSizes) {
    runner.reset();
    passes.push(await runner.append(ids, size));
  }
  for (const other of passes.slice(1)) expect(other).toEqual(passes[0]);
  runner.destroy();
  store.destroy();
});
