import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Weight } from '@forerun/tensor';
import {
  folderSource,
  loadWeights,
  memorySource,
  openCheckpoint,
  parseHeader,
  widen,
  type Checkpoint,
  type WeightSink,
} from '../src/index.ts';
import { safetensorsFile } from './write-safetensors.ts';

const folder = join(import.meta.dirname, '../../goldens/fixtures/models/llama');
let raw: Uint8Array;
beforeAll(async () => {
  raw = await readFile(join(folder, 'model.safetensors'));
});

/** Every weight of a llama of two layers, by the names in its checkpoint. */
function readLlama(checkpoint: Checkpoint, config: Record<string, unknown>): Weight[] {
  const D = config['hidden_size'] as number;
  const F = config['intermediate_size'] as number;
  const E = config['head_dim'] as number;
  const H = (config['num_attention_heads'] as number) * E;
  const K = (config['num_key_value_heads'] as number) * E;
  const V = config['vocab_size'] as number;
  const w = checkpoint.weights();
  const model = w.at('model');
  model.at('embed_tokens').tensor('weight', [V, D]);
  for (let layer = 0; layer < (config['num_hidden_layers'] as number); layer++) {
    const block = model.at('layers').at(layer);
    const attention = block.at('self_attn');
    attention.at('q_proj').tensor('weight', [H, D]);
    attention.at('k_proj').tensor('weight', [K, D]);
    attention.at('v_proj').tensor('weight', [K, D]);
    attention.at('o_proj').tensor('weight', [D, H]);
    const mlp = block.at('mlp');
    mlp.at('gate_proj').tensor('weight', [F, D]);
    mlp.at('up_proj').tensor('weight', [F, D]);
    mlp.at('down_proj').tensor('weight', [D, F]);
    block.at('input_layernorm').tensor('weight', [D]);
    block.at('post_attention_layernorm').tensor('weight', [D]);
  }
  model.at('norm').tensor('weight', [D]);
  w.at('lm_head').tensor('weight', [V, D]);
  return w.finish();
}

/** A sink that does in f32 what the device does. */
function hostSink(): { sink: WeightSink; values: Map<string, Float32Array> } {
  const pieces = new Map<string, Float32Array[]>();
  const values = new Map<string, Float32Array>();
  const sink: WeightSink = {
    write: async (weight, source, elementOffset, bytes) => {
      const before = pieces.get(weight.name) ?? [];
      expect(before.reduce((sum, piece) => sum + piece.length, 0)).toBe(elementOffset);
      pieces.set(weight.name, [...before, widen(source, bytes)]);
    },
    finish: async () => {
      for (const [name, list] of pieces) values.set(name, Float32Array.from(list.flatMap((piece) => [...piece])));
    },
  };
  return { sink, values };
}

/** The fixture's tensors, cut out of the file by hand. */
function expected(): Map<string, Float32Array> {
  const headerBytes = Number(new DataView(raw.buffer, raw.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(raw.subarray(8, 8 + headerBytes))) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  return new Map(
    Object.entries(header).flatMap(([name, { data_offsets: offsets }]) =>
      name === '__metadata__'
        ? []
        : [[name, widen('BF16', raw.subarray(8 + headerBytes + offsets[0], 8 + headerBytes + offsets[1]))]],
    ),
  );
}

describe('a llama as transformers wrote it', () => {
  test('header, config, weights', async () => {
    const checkpoint = await openCheckpoint(folderSource(folder));
    expect(checkpoint.metadata.get('format')).toBe('pt');
    const config = await checkpoint.config();
    expect(config['model_type']).toBe('llama');
    expect(await checkpoint.generationConfig()).toBeUndefined();
    const weights = readLlama(checkpoint, config);
    expect(weights).toHaveLength(21);
    expect(weights.map(({ format, shape }) => (shape.length === 2 ? format : `vector ${format}`))).toEqual(
      weights.map(({ shape }) => (shape.length === 2 ? 'bf16' : 'vector f32')),
    );
    const { sink, values } = hostSink();
    await loadWeights(checkpoint, weights, sink, { sliceBytes: 4096 });
    expect(values).toEqual(expected());
  });

  test('golden.safetensors beside it has I32 and F32', async () => {
    const golden = await openCheckpoint(folderSource(folder), { file: 'golden.safetensors' });
    expect(golden.tensors.get('input_ids')).toMatchObject({ dtype: 'I32', shape: [80] });
    expect(golden.tensors.get('logits')).toMatchObject({ dtype: 'F32', shape: [80, 256] });
  });
});

describe('the same llama in shards', () => {
  let sharded: string;
  beforeAll(async () => {
    sharded = await mkdtemp(join(tmpdir(), 'forerun-shards-'));
    const { entries } = parseHeader(
      raw.subarray(8, 8 + Number(new DataView(raw.buffer, raw.byteOffset).getBigUint64(0, true))),
      raw.length,
      'llama',
    );
    const weightMap: Record<string, string> = {};
    for (let shard = 0; shard < 3; shard++) {
      const file = `model-0000${shard + 1}-of-00003.safetensors`;
      const part = entries.filter((_, index) => index % 3 === shard);
      for (const { name } of part) weightMap[name] = file;
      await writeFile(
        join(sharded, file),
        safetensorsFile(
          part.map(({ name, dtype, shape, begin, end }) => ({ name, dtype, shape, bytes: raw.subarray(begin, end) })),
        ),
      );
    }
    await writeFile(
      join(sharded, 'model.safetensors.index.json'),
      JSON.stringify({ metadata: { total_size: 1 }, weight_map: weightMap }),
    );
    await writeFile(join(sharded, 'config.json'), await readFile(join(folder, 'config.json')));
  });
  afterAll(() => rm(sharded, { recursive: true }));

  test('gives the same weights, with progress over three files', async () => {
    const checkpoint = await openCheckpoint(folderSource(sharded), { weights: 'q4' });
    expect(checkpoint.files).toHaveLength(3);
    const weights = readLlama(checkpoint, await checkpoint.config());
    expect(new Set(weights.map(({ format }) => format))).toEqual(new Set(['q4', 'f32']));
    const { sink, values } = hostSink();
    const seen = new Set<string>();
    let last = 0;
    await loadWeights(checkpoint, weights, sink, {
      sliceBytes: 8192,
      onProgress: ({ loadedBytes, totalBytes, files }) => {
        expect(loadedBytes).toBeGreaterThan(last);
        last = loadedBytes;
        seen.add(files.current);
        expect(totalBytes).toBe(
          raw.length - 8 - Number(new DataView(raw.buffer, raw.byteOffset).getBigUint64(0, true)),
        );
      },
    });
    expect(values).toEqual(expected());
    expect(seen.size).toBe(3);
  });

  test('a shard that is cut short is refused before anything is read of it', async () => {
    const file = 'model-00002-of-00003.safetensors';
    const files = new Map<string, Uint8Array>();
    for (const name of [
      'model.safetensors.index.json',
      ...[1, 2, 3].map((shard) => `model-0000${shard}-of-00003.safetensors`),
    ]) {
      files.set(name, await readFile(join(sharded, name)));
    }
    files.set(file, files.get(file)!.slice(0, -1));
    await expect(openCheckpoint(memorySource(files))).rejects.toThrow(`memory/${file}: its tensors take`);
  });
});
