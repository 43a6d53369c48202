/** Shapes of models that people run, as their config.json has them: for measuring speed without their weights. */

const qwen3 = (shape: Readonly<Record<string, unknown>>) => ({
  model_type: 'qwen3',
  architectures: ['Qwen3ForCausalLM'],
  attention_bias: false,
  head_dim: 128,
  hidden_act: 'silu',
  max_position_embeddings: 40_960,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-6,
  rope_theta: 1_000_000,
  tie_word_embeddings: true,
  use_sliding_window: false,
  vocab_size: 151_936,
  bos_token_id: 151_643,
  eos_token_id: 151_645,
  ...shape,
});

/** Configurations by name. */
export const presets: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'qwen3-0.6b': qwen3({ hidden_size: 1024, intermediate_size: 3072, num_attention_heads: 16, num_hidden_layers: 28 }),
  'qwen3-1.7b': qwen3({ hidden_size: 2048, intermediate_size: 6144, num_attention_heads: 16, num_hidden_layers: 28 }),
  'qwen3-4b': qwen3({ hidden_size: 2560, intermediate_size: 9728, num_attention_heads: 32, num_hidden_layers: 36 }),
  'llama-3.1-8b': {
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    attention_bias: false,
    mlp_bias: false,
    hidden_act: 'silu',
    hidden_size: 4096,
    intermediate_size: 14_336,
    max_position_embeddings: 131_072,
    num_attention_heads: 32,
    num_hidden_layers: 32,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-5,
    rope_scaling: {
      factor: 8,
      high_freq_factor: 4,
      low_freq_factor: 1,
      original_max_position_embeddings: 8192,
      rope_type: 'llama3',
    },
    rope_theta: 500_000,
    tie_word_embeddings: false,
    vocab_size: 128_256,
    bos_token_id: 128_000,
    eos_token_id: [128_001, 128_008, 128_009],
  },
};
