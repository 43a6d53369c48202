import { readdirSync, readFileSync, statSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  stories,
  storiesBlock,
  storiesDraft,
  storiesEagle,
  storiesMedusa,
  storiesMtp,
  type TinyCheckpoint,
} from './index.ts';

function json(checkpoint: TinyCheckpoint, file: string) {
  return JSON.parse(readFileSync(new URL(file, checkpoint.url), 'utf8'));
}

function weightFile({ files, url }: TinyCheckpoint): URL {
  return new URL(
    files.find((file) => file.endsWith('.safetensors'))!,
    url,
  );
}

/** Header of the weights and the number of bytes after it. */
function weights(checkpoint: TinyCheckpoint) {
  const file = readFileSync(weightFile(checkpoint));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const { __metadata__: _, ...tensors } = JSON.parse(file.subarray(8, 8 + headerBytes).toString()) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return { tensors, dataBytes: file.byteLength - 8 - headerBytes, file: file.subarray(8 + headerBytes) };
}

const heads = [storiesMedusa, storiesMtp, storiesEagle, storiesBlock];

describe.each([stories, storiesDraft, ...heads])('$name', (checkpoint) => {
  test('the folder holds the files that are named, and no others', () => {
    expect(checkpoint.url.pathname.endsWith('/')).toBe(true);
    expect(readdirSync(checkpoint.url).sort()).toEqual([...checkpoint.files].sort());
    for (const file of checkpoint.files) expect(statSync(new URL(file, checkpoint.url)).size).toBeGreaterThan(0);
  });

  test('every weight is bfloat16, as many as are claimed, within 14 MB', () => {
    const { tensors, dataBytes } = weights(checkpoint);
    expect(new Set(Object.values(tensors).map(({ dtype }) => dtype))).toEqual(new Set(['BF16']));
    const counts = Object.values(tensors).map(({ shape }) => shape.reduce((a, b) => a * b, 1));
    expect(counts.reduce((a, b) => a + b, 0)).toBe(checkpoint.parameters);
    expect(dataBytes).toBe(2 * checkpoint.parameters);
    expect(statSync(weightFile(checkpoint)).size).toBeLessThanOrEqual(14_000_000);
  });

  test('no weight is infinite or not a number', () => {
    const { file } = weights(checkpoint);
    const bits = new Uint16Array(file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength));
    expect(bits.filter((value) => (value & 0x7f80) === 0x7f80)).toHaveLength(0);
  });
});

describe.each([stories, storiesDraft])('$name', (checkpoint) => {
  test('the config describes the weights', () => {
    const config = json(checkpoint, 'config.json');
    const { tensors } = weights(checkpoint);
    const { hidden_size: hidden, head_dim: headDim, intermediate_size: intermediate } = config;
    expect(config).toMatchObject({ model_type: 'qwen3', vocab_size: 4096, tie_word_embeddings: true });
    expect(config.max_position_embeddings).toBeGreaterThanOrEqual(2048);
    expect(tensors['model.embed_tokens.weight']!.shape).toEqual([config.vocab_size, hidden]);
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      const shape = (name: string) => tensors[`model.layers.${layer}.${name}.weight`]!.shape;
      expect(shape('self_attn.q_proj')).toEqual([config.num_attention_heads * headDim, hidden]);
      expect(shape('self_attn.k_proj')).toEqual([config.num_key_value_heads * headDim, hidden]);
      expect(shape('mlp.down_proj')).toEqual([hidden, intermediate]);
    }
    expect(Object.keys(tensors)).toHaveLength(2 + 11 * config.num_hidden_layers);
    // Blocks of 32 along the inputs of every matrix: the 4-bit and 8-bit formats need no padding.
    for (const size of [hidden, intermediate, config.num_attention_heads * headDim]) expect(size % 32).toBe(0);
  });
});

test('heads are made for the story model, and all together fit into 4.5 MB', () => {
  const target = json(stories, 'config.json');
  for (const head of heads) {
    expect(json(head, 'config.json')).toMatchObject({ hidden_size: target.hidden_size, vocab_size: target.vocab_size });
  }
  const bytes = heads.map((head) => statSync(weightFile(head)).size);
  expect(bytes.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(4_500_000);
});

test('both models and the tokenizer share one vocabulary and one end token', () => {
  const tokenizer = json(stories, 'tokenizer.json');
  expect(Object.keys(tokenizer.model.vocab)).toHaveLength(4096);
  expect(tokenizer.model.vocab['<|endoftext|>']).toBe(0);
  for (const checkpoint of [stories, storiesDraft]) {
    expect(json(checkpoint, 'config.json')).toMatchObject({ vocab_size: 4096, eos_token_id: 0, bos_token_id: 0 });
    expect(json(checkpoint, 'generation_config.json')).toMatchObject({ eos_token_id: 0, bos_token_id: 0 });
  }
});
