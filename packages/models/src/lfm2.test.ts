import { expect, test } from 'vitest';
import { cacheBytes, decodeFlops, weightBytes } from './cost.ts';
import { lfm2Config } from './lfm2.ts';

const shape = {
  model_type: 'lfm2',
  vocab_size: 100,
  hidden_size: 48,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
};
const layerTypes = { layer_types: ['conv', 'full_attention', 'conv'] };

test('both spellings say the same', () => {
  const transformers = {
    ...shape,
    ...layerTypes,
    intermediate_size: 150,
    norm_eps: 1e-6,
    tie_word_embeddings: false,
    rope_parameters: { rope_type: 'default', rope_theta: 2e4 },
  };
  const liquid = {
    ...shape,
    block_ff_dim: 150,
    norm_eps: 1e-6,
    tie_embedding: false,
    full_attn_idxs: [1],
    rope_theta: 2e4,
  };
  expect(lfm2Config(liquid)).toEqual(lfm2Config(transformers));
});

test('what is left out has the defaults of the family', () => {
  expect(lfm2Config({ ...shape, intermediate_size: 300 })).toMatchObject({
    convolutions: [false, false, false],
    convKernel: 3,
    convBias: false,
    intermediateSize: 256,
    rmsNormEps: 1e-5,
    tieWordEmbeddings: true,
  });
  const theta = (fields: object) => lfm2Config({ ...shape, intermediate_size: 96, ...fields }).rope;
  expect(theta({})).toEqual(theta({ rope_theta: 1e6 }));
  expect(theta({ rope_parameters: { rope_type: 'default' } })).toEqual(theta({}));
  expect(theta({ rope_theta: 1e4 })).not.toEqual(theta({}));
});

test.each([
  [{ block_auto_adjust_ff_dim: false }, 1000],
  [{}, 768],
  [{ block_multiple_of: 100 }, 700],
  [{ block_multiple_of: 100, block_ffn_dim_multiplier: 1.5 }, 1000],
  [{ block_multiple_of: 100, block_ffn_dim_multiplier: 1.51 }, 1100],
  [{ block_multiple_of: 100, block_ffn_dim_multiplier: null }, 666],
])('the width of the mlp with %j is %d', (fields, width) => {
  expect(lfm2Config({ ...shape, block_ff_dim: 1000, ...fields }).intermediateSize).toBe(width);
});

test.each([
  [{ layer_types: ['conv', 'conv'] }, 'model-config', 'layer_types'],
  [{ layer_types: ['conv', 'linear_attention', 'conv'] }, 'model-config', 'layer_types'],
  [{ full_attn_idxs: [3] }, 'model-config', 'full_attn_idxs is [3], expected a list of integers from 0 to 2'],
  [{ conv_L_cache: 0 }, 'model-config', 'conv_L_cache is 0'],
  [{ conv_bias: 1 }, 'model-config', 'conv_bias is 1'],
  [{ sliding_window: 8 }, 'unsupported-model', 'sliding_window is 8'],
  [{ model_type: 'lfm2_moe' }, 'unsupported-model', 'model_type is "lfm2_moe"'],
])('refuses %j', (fields, code, message) => {
  expect(() => lfm2Config({ ...shape, intermediate_size: 96, ...fields })).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(message) as string }) as Error,
  );
});

test('what it costs: convolutions have matrices of their own, no cache and no scores', () => {
  const c = lfm2Config({ ...shape, ...layerTypes, intermediate_size: 96, block_auto_adjust_ff_dim: false });
  const attention = (4 + 2 * 2) * 12 * 48 + 48 * 48;
  const matrices = attention + 2 * (3 * 48 * 48 + 48 * 48) + 3 * 3 * 48 * 96 + 100 * 48;
  expect(weightBytes(c, 'f32')).toBe(4 * matrices);
  expect(cacheBytes(c, 10)).toBe(2 * 10 * 2 * 12 * 4);
  expect(decodeFlops(c, 10)).toBe(2 * matrices + 4 * 4 * 12 * 10);
});
