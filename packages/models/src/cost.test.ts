import { expect, test } from 'vitest';
import { cacheBytes, cacheReadBytes, decodeFlops, decodeWeightBytes, weightBytes } from './cost.ts';
import { glm4MoeConfig } from './glm4-moe.ts';
import { mistralConfig } from './mistral.ts';
import { qwen2Config } from './qwen2.ts';

const small = {
  model_type: 'mistral',
  vocab_size: 100,
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  sliding_window: 10,
};
const untied = mistralConfig(small);
const tied = mistralConfig({ ...small, tie_word_embeddings: true });
const perLayer = 32 * 32 + 2 * (16 * 32) + 32 * 32 + 3 * (32 * 64);

test('bytes of weights by hand, for whole blocks', () => {
  const layers = 2 * perLayer;
  const table = 100 * 32;
  expect(weightBytes(untied, 'f32')).toBe(4 * (layers + 2 * table));
  expect(weightBytes(tied, 'f32')).toBe(4 * (layers + table));
  expect(weightBytes(tied, 'bf16')).toBe(2 * (layers + table));
  expect(weightBytes(tied, 'q4')).toBe(((layers + table) / 32) * 18);
  expect(weightBytes(tied, 'q8')).toBe(((layers + table) / 32) * 34);
  expect(decodeWeightBytes(untied, 'f32')).toBe(4 * (layers + table));
});

test('operations of one token: twice the matrices, and attention over what a layer sees', () => {
  const multiplied = 2 * (2 * perLayer + 100 * 32);
  expect(decodeFlops(untied, 5)).toBe(multiplied + 2 * 4 * 4 * 8 * 5);
  expect(decodeFlops(untied, 500)).toBe(multiplied + 2 * 4 * 4 * 8 * 10);
});

test('bytes of caches, and of what one step reads of them', () => {
  expect(cacheBytes(untied, 300)).toBe(2 * 2 * 300 * 2 * 8 * 4);
  expect(cacheBytes(untied, 300, 'f16')).toBe(2 * 2 * 300 * 2 * 8 * 2);
  expect(cacheBytes(untied, 5000)).toBe(2 * 2 * (10 - 1 + 576) * 2 * 8 * 4);
  expect(cacheBytes({ ...untied, slidingWindows: [undefined, 10] }, 5000)).toBe((5000 + 585) * 2 * 2 * 8 * 4);
  expect(cacheReadBytes(untied, 300)).toBe(2 * 2 * 10 * 2 * 8 * 4);
});

test('a model of 7 billion parameters', () => {
  const c = qwen2Config({
    model_type: 'qwen2',
    vocab_size: 152_064,
    hidden_size: 3584,
    intermediate_size: 18_944,
    num_hidden_layers: 28,
    num_attention_heads: 28,
    num_key_value_heads: 4,
    max_position_embeddings: 32_768,
    rms_norm_eps: 1e-6,
  });
  expect(weightBytes(c, 'f16') / 2e9).toBeCloseTo(7.615, 2);
  expect(decodeFlops(c, 1) / 1e9).toBeCloseTo(14.14, 1);
});

test('of experts all are stored, and those that a token chooses are read and multiplied', () => {
  const c = glm4MoeConfig({
    ...small,
    model_type: 'glm4_moe',
    sliding_window: undefined,
    num_hidden_layers: 3,
    first_k_dense_replace: 1,
    n_routed_experts: 8,
    num_experts_per_tok: 2,
    n_shared_experts: 1,
    moe_intermediate_size: 16,
  });
  const attention = 2 * (32 * 32 + 16 * 32);
  const expert = 3 * 16 * 32;
  const others = 3 * attention + 3 * 64 * 32 + 2 * 8 * 32 + 100 * 32;
  expect(decodeWeightBytes(c, 'f32')).toBe(4 * (others + 2 * 3 * expert));
  expect(weightBytes(c, 'f32')).toBe(4 * (others + 2 * 9 * expert + 100 * 32));
  expect(decodeFlops(c, 1)).toBe(2 * (others + 2 * 3 * expert) + 3 * 4 * 4 * 8);
});
