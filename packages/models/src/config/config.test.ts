import type { ConfigJson } from '@forerun/checkpoints';
import { expect, test } from 'vitest';
import { llamaConfig } from '../llama.ts';
import { mistralConfig } from '../mistral.ts';
import { olmo2Config } from '../olmo2.ts';
import { qwen2Config } from '../qwen2.ts';
import { qwen3Config } from '../qwen3.ts';

const shape = {
  vocab_size: 128,
  hidden_size: 48,
  intermediate_size: 96,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
};
const readers = {
  llama: llamaConfig,
  mistral: mistralConfig,
  olmo2: olmo2Config,
  qwen2: qwen2Config,
  qwen3: qwen3Config,
};
type ModelType = keyof typeof readers;

function read(modelType: ModelType, fields: ConfigJson) {
  return readers[modelType]({ model_type: modelType, ...shape, ...fields });
}

/** Fields that are wrong, the code of their error, and what its message names. */
const refused: readonly (readonly [
  ModelType,
  ConfigJson,
  'model-config' | 'unsupported-model' | 'rope-config',
  string,
])[] = [
  ['llama', { hidden_size: undefined }, 'model-config', 'hidden_size is missing'],
  ['llama', { vocab_size: null }, 'model-config', 'vocab_size is missing'],
  ['llama', { vocab_size: '128' }, 'model-config', 'vocab_size is "128", expected an integer'],
  ['llama', { intermediate_size: undefined }, 'model-config', 'intermediate_size is missing'],
  ['llama', { num_hidden_layers: 0 }, 'model-config', 'num_hidden_layers is 0'],
  ['llama', { num_hidden_layers: 2.5 }, 'model-config', 'num_hidden_layers is 2.5'],
  ['llama', { num_hidden_layers: 1e9 }, 'model-config', 'expected an integer from 1 to 4096'],
  ['llama', { num_attention_heads: -4 }, 'model-config', 'num_attention_heads is -4'],
  [
    'llama',
    { num_attention_heads: 5, num_key_value_heads: 5 },
    'model-config',
    'a divisor of hidden_size (48), or a head_dim',
  ],
  ['llama', { num_key_value_heads: 3 }, 'model-config', 'a divisor of num_attention_heads (4)'],
  ['llama', { num_key_value_heads: 8 }, 'model-config', 'num_key_value_heads is 8'],
  ['llama', { head_dim: 13 }, 'unsupported-model', '13 wide'],
  ['llama', { head_dim: [16] }, 'model-config', 'head_dim is [16]'],
  ['llama', { max_position_embeddings: undefined }, 'model-config', 'max_position_embeddings is missing'],
  ['llama', { rms_norm_eps: undefined }, 'model-config', 'rms_norm_eps is missing'],
  ['llama', { rms_norm_eps: -1 }, 'model-config', 'rms_norm_eps is -1'],
  ['llama', { rms_norm_eps: Infinity }, 'model-config', 'expected a number, from 0 to 1'],
  ['llama', { hidden_act: 'mish' }, 'unsupported-model', 'hidden_act is "mish"; supported are silu'],
  ['llama', { hidden_act: 3 }, 'model-config', 'hidden_act is 3'],
  ['llama', { attention_bias: 'yes' }, 'model-config', 'attention_bias is "yes", expected true or false'],
  ['llama', { mlp_bias: 1 }, 'model-config', 'mlp_bias is 1'],
  ['llama', { tie_word_embeddings: 'false' }, 'model-config', 'tie_word_embeddings is "false"'],
  ['llama', { pretraining_tp: 2 }, 'unsupported-model', 'pretraining_tp is 2; only 1 is supported'],
  [
    'llama',
    { quantization_config: { quant_method: 'awq' } },
    'unsupported-model',
    'quantization_config is {"quant_method":"awq"}',
  ],
  ['llama', { sliding_window: 64 }, 'unsupported-model', 'sliding_window is 64'],
  ['llama', { final_logit_softcapping: 30 }, 'unsupported-model', 'final_logit_softcapping is 30'],
  ['llama', { embedding_multiplier: 12 }, 'unsupported-model', 'embedding_multiplier is 12'],
  ['llama', { no_rope_layers: [1, 1, 0] }, 'unsupported-model', 'no_rope_layers is [1,1,0]'],
  ['llama', { partial_rotary_factor: 0.5 }, 'unsupported-model', 'partial_rotary_factor is 0.5'],
  [
    'llama',
    { rope_parameters: { rope_type: 'default', partial_rotary_factor: 0.5 } },
    'unsupported-model',
    'a part of each head',
  ],
  ['llama', { rope_parameters: { rope_type: 'mystery' } }, 'rope-config', 'mystery'],
  ['llama', { rope_parameters: { rope_type: 'linear' } }, 'rope-config', 'factor'],
  ['llama', { rope_scaling: { type: 'llama3', factor: 8 } }, 'rope-config', 'low_freq_factor'],
  [
    'llama',
    { rope_parameters: { rope_type: 'longrope', short_factor: [1], long_factor: [1] } },
    'rope-config',
    'short_factor',
  ],
  ['llama', { rope_theta: '10000' }, 'rope-config', 'rope_theta'],
  ['llama', { model_type: 'qwen3' }, 'unsupported-model', 'model_type is "qwen3"; supported are llama'],
  ['mistral', { attention_bias: true }, 'unsupported-model', 'attention_bias is true'],
  ['mistral', { sliding_window: 0 }, 'model-config', 'sliding_window is 0'],
  ['mistral', { sliding_window: 8, layer_types: Array(3).fill('full_attention') }, 'model-config', 'layer_types'],
  ['mistral', { sliding_window: null, layer_types: Array(3).fill('sliding_attention') }, 'model-config', 'layer_types'],
  ['qwen2', { mlp_bias: true }, 'unsupported-model', 'mlp_bias is true'],
  ['qwen2', { use_mrope: true }, 'unsupported-model', 'use_mrope is true'],
  ['qwen2', { layer_types: ['full_attention'] }, 'model-config', 'layer_types'],
  ['qwen2', { layer_types: ['full_attention', 'full_attention', 'chunked_attention'] }, 'model-config', 'layer_types'],
  [
    'qwen2',
    { layer_types: Array(3).fill('sliding_attention'), sliding_window: 8 },
    'model-config',
    'use_sliding_window',
  ],
  ['olmo2', { clip_qkv: 8 }, 'unsupported-model', 'clip_qkv is 8'],
  ['qwen3', { use_sliding_window: 'no' }, 'model-config', 'use_sliding_window is "no"'],
  [
    'qwen3',
    { use_sliding_window: true, sliding_window: -1, max_window_layers: 0 },
    'model-config',
    'sliding_window is -1',
  ],
  ['qwen3', { num_experts: 8 }, 'unsupported-model', 'num_experts is 8'],
];

test.each(refused)('%s refuses %j', (modelType, fields, code, message) => {
  let error: unknown;
  try {
    read(modelType, fields);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toMatchObject({ code, message: expect.stringContaining(message) as string });
});

test('fields that are left out have the defaults of their model type', () => {
  const llama = read('llama', { num_key_value_heads: undefined });
  expect(llama).toMatchObject({ numKeyValueHeads: 4, headDim: 12, hiddenAct: 'silu', tieWordEmbeddings: false });
  expect(llama).toMatchObject({
    attentionBias: false,
    mlpBias: false,
    slidingWindows: [undefined, undefined, undefined],
  });
  expect(read('qwen3', {}).headDim).toBe(128);
  expect(read('qwen2', { head_dim: 22 }).headDim).toBe(22);
  expect(read('llama', { head_dim: null }).headDim).toBe(12);
});

test('values that change nothing are accepted', () => {
  const neutral = {
    pretraining_tp: 1,
    attention_bias: false,
    sliding_window: null,
    quantization_config: null,
    num_experts: 0,
  };
  expect(read('llama', { ...neutral, transformers_version: '5.0.0', unheard_of: 7 }).hiddenSize).toBe(48);
});

const windows: readonly (readonly [ModelType, ConfigJson, readonly (number | undefined)[]])[] = [
  ['mistral', {}, [4096, 4096, 4096]],
  ['mistral', { sliding_window: null }, [undefined, undefined, undefined]],
  ['mistral', { sliding_window: 8, layer_types: Array(3).fill('sliding_attention') }, [8, 8, 8]],
  ['qwen2', { sliding_window: 8, max_window_layers: 0 }, [undefined, undefined, undefined]],
  ['qwen2', { use_sliding_window: true, sliding_window: 8, max_window_layers: 1 }, [undefined, 8, 8]],
  ['qwen2', { use_sliding_window: true, sliding_window: 8 }, [undefined, undefined, undefined]],
  [
    'qwen3',
    { use_sliding_window: true, sliding_window: null, max_window_layers: 0 },
    [undefined, undefined, undefined],
  ],
  [
    'qwen3',
    {
      use_sliding_window: true,
      sliding_window: 8,
      layer_types: ['sliding_attention', 'full_attention', 'sliding_attention'],
    },
    [8, undefined, 8],
  ],
];

test.each(windows)('windows of %s with %j', (modelType, fields, expected) => {
  expect(read(modelType, fields).slidingWindows).toEqual(expected);
});

test('the older spelling of rope says the same', () => {
  const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 };
  const newer = read('llama', { rope_parameters: { rope_type: 'llama3', rope_theta: 5e5, ...scaling } });
  expect(read('llama', { rope_theta: 5e5, rope_scaling: { rope_type: 'llama3', ...scaling } }).rope).toEqual(
    newer.rope,
  );
  expect(read('llama', { rope_theta: 5e5, rope_scaling: { type: 'llama3', ...scaling } }).rope).toEqual(newer.rope);
});
