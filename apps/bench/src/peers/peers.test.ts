import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint } from '@forerun/checkpoints';
import { decodeWeightBytes, loadModel } from '@forerun/models';
import { ArgumentError } from '@forerun/tensor';
import { openSource } from 'forerun';
import { presets } from 'forerun/bench';
import { afterAll, describe, expect, it } from 'vitest';
import { comparePeers } from './compare.ts';
import { importFrom, PeerMissingError } from './llama.ts';
import { writeShapeGguf } from './shape-gguf.ts';

const folder = mkdtempSync(join(tmpdir(), 'forerun-peers-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const smaller = { num_hidden_layers: 2, hidden_size: 128, intermediate_size: 256, vocab_size: 512, head_dim: 32 };

describe('a GGUF file of a shape', () => {
  for (const preset of ['qwen3-0.6b', 'llama-3.1-8b']) {
    it(`is read back as the model that it was made for: ${preset}`, async () => {
      const json = { ...presets[preset], ...smaller, bos_token_id: 0, eos_token_id: 1 };
      const path = join(folder, `${preset}.gguf`);
      const bytes = await writeShapeGguf(json, path);
      const checkpoint = await openCheckpoint(await openSource(path));
      const { config, weights } = await loadModel(checkpoint);
      expect(config).toMatchObject({
        hiddenSize: 128,
        intermediateSize: 256,
        numHiddenLayers: 2,
        headDim: 32,
        vocabSize: 512,
        tieWordEmbeddings: preset.startsWith('qwen3'),
      });
      const matrices = weights.filter(({ shape }) => shape.length === 2);
      expect(new Set(matrices.map(({ format }) => format))).toEqual(new Set(['q4']));
      expect(bytes).toBeGreaterThan(decodeWeightBytes(config, 'q4'));
      const { rope_type } = (await checkpoint.config())['rope_parameters'] as { rope_type: string };
      expect(rope_type).toBe(preset.startsWith('llama') ? 'longrope' : 'default');
    });
  }

  it('is refused for an architecture that it does not know', async () => {
    const json = { ...presets['qwen3-0.6b'], ...smaller, model_type: 'qwen2' };
    await expect(writeShapeGguf(json, join(folder, 'none.gguf'))).rejects.toThrow(ArgumentError);
  });
});

describe('comparePeers', () => {
  it('lets engines take turns, and names the one that fails', async () => {
    const turns: string[] = [];
    const report = await comparePeers(['ours-f32', 'slow', 'broken'], {
      rounds: 2,
      command: (engine) => {
        turns.push(engine);
        const figures = { engine, greedy_ms: engine === 'slow' ? 3 : 2 };
        const code =
          engine === 'broken'
            ? 'throw new Error("no card")'
            : `console.log(${JSON.stringify(JSON.stringify(figures))})`;
        return [process.execPath, '-e', code];
      },
    });
    expect(turns).toEqual(['ours-f32', 'slow', 'broken', 'ours-f32', 'slow']);
    const [ours, slow, broken] = report.engines;
    expect(ours!.greedy_over_ours).toBe(1);
    expect(slow!.greedy_over_ours).toBe(1.5);
    expect(broken).toMatchObject({ figures: undefined, greedy_over_ours: undefined });
    expect(broken!.failure).toMatch(/ended with 1: .*no card/);
  });

  it('says what broke in the words of the error, without the folders of a machine', async () => {
    const failureOf = async (code: string) => {
      const command = () => [process.execPath, '-e', code];
      return (await comparePeers(['broken'], { rounds: 1, command })).engines[0]!.failure;
    };
    expect(await failureOf("console.error('/one/two/gpu.cu:108: CUDA error'); process.exit(3)")).toBe(
      'ended with 3: gpu.cu:108: CUDA error',
    );
    expect(await failureOf("throw new RangeError('too far')")).toBe('ended with 1: RangeError: too far');
  });

  it('says how to install a peer that is not there', async () => {
    await expect(importFrom(folder, 'no-such-peer')).rejects.toThrow(PeerMissingError);
  });
});
