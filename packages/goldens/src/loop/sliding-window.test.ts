/** A model whose windows are rings says what it says over whole caches, however long the conversation, and goes back as far as a ring reaches. */
import { readdir, readFile } from 'node:fs/promises';
import { softmaxAttention } from '@forerun/attention';
import { loadWeights, memorySource, openCheckpoint } from '@forerun/checkpoints';
import { Engine, type GenerateRequest } from '@forerun/decoding';
import { loadModel } from '@forerun/models';
import { WeightStore, WeightUpload } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { afterAll, expect, it } from 'vitest';
import { bushes } from '../speculative/adversaries.ts';
import { goldenFolder, promptOf, run } from './golden-llama.ts';

const device = await testDevice();
const capacityTokens = 1100;

/** The golden model with a window, for long conversations, over rings or over caches of everything. */
async function open(rings: boolean): Promise<Engine> {
  const folder = goldenFolder('mistral-swa');
  const files = new Map<string, Uint8Array>();
  for (const name of await readdir(folder)) files.set(name, await readFile(`${folder}/${name}`));
  const config = JSON.parse(new TextDecoder().decode(files.get('config.json'))) as object;
  files.set('config.json', new TextEncoder().encode(JSON.stringify({ ...config, max_position_embeddings: 4096 })));
  const checkpoint = await openCheckpoint(memorySource(files));
  const { decoder, weights } = await loadModel(checkpoint, {
    attention: (layers, capacity, options) =>
      softmaxAttention(layers, capacity, rings ? options : { ...options, rollbackTokens: capacity }),
  });
  const store = new WeightStore(device);
  return Engine.create({
    device,
    decoder,
    verifier: sampleAndMatch(),
    noise: philoxNoise,
    weights: {
      store,
      fill: (wanted) =>
        loadWeights(
          checkpoint,
          weights.filter((weight) => wanted.includes(weight)),
          new WeightUpload(store),
        ),
    },
    capacityTokens,
    chunkTokens: [128, 32],
  });
}

const [ring, whole] = [await open(true), await open(false)];
afterAll(() => {
  ring.destroy();
  whole.destroy();
});

it('keeps less than the conversation', () => {
  const bytes = (engine: Engine) => engine.state.states.reduce((sum, { byteLength }) => sum + byteLength, 0);
  expect(ring.state.states.every(({ shape }) => shape[0]! < 600)).toBe(true);
  expect(whole.state.states.every(({ shape }) => shape[0]! >= capacityTokens)).toBe(true);
  expect(bytes(ring)).toBeLessThan(bytes(whole) / 1.9);
});

it('says the same over turns, trees and rejected drafts, and begins anew where the ring has moved on', async () => {
  const tree = bushes(3);
  const talk = async (engine: Engine, { speculative }: { speculative: boolean }) => {
    using plain = engine.open();
    using branching = engine.open({ drafter: tree });
    const said: number[][] = [];
    const reused: number[] = [];
    const ask = async (prompt: readonly number[], maxTokens: number) => {
      const request: GenerateRequest = { prompt, maxTokens, sampling: { temperature: 0.8, seed: 2 } };
      const { tokens } = await run(plain, request);
      said.push(tokens);
      reused.push(plain.statistics!.reusedTokens);
      if (speculative) {
        expect((await run(branching, { ...request, width: 16 })).tokens).toEqual(tokens);
        expect(branching.statistics!.reusedTokens).toBe(plain.statistics!.reusedTokens);
      }
      return [...prompt, ...tokens];
    };
    const first = await ask(promptOf(600), 12);
    const second = await ask([...first, ...promptOf(300).reverse()], 12);
    await ask([...second.slice(0, 900), 9, 8, 7], 8);
    await ask([...second.slice(0, 250), 9, 8, 7], 4);
    return { said, reused };
  };
  const over = await talk(ring, { speculative: true });
  const expected = await talk(whole, { speculative: false });
  expect(expected.reused).toEqual([0, 611, 900, 250]);
  expect(over.reused).toEqual([0, 611, 900, 0]);
  expect(over.said).toEqual(expected.said);
});
