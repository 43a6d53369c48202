import { GgufError } from '../errors.ts';
import type { Metadata } from './metadata.ts';

/** Architectures that are put together, by `general.architecture`. Mistral's files call themselves llama. */
const architectures = ['llama', 'qwen2', 'qwen3'] as const;
type Architecture = (typeof architectures)[number];

/** What the tensors say of a model. */
export interface TensorFacts {
  /** Rows of the embedding: V. */
  readonly vocabSize: number;
  readonly has: (name: string) => boolean;
  /** Factors on the wavelengths of rotary pairs, where the file has them. */
  readonly ropeFactors: {
    readonly always?: readonly number[];
    readonly long?: readonly number[];
    readonly short?: readonly number[];
  };
}

/** `general.architecture`, if it is one of those that are known. */
export function architectureOf(metadata: Metadata): Architecture {
  const name = metadata.need('general.architecture', (key) => metadata.string(key));
  const known = architectures.find((candidate) => candidate === name);
  if (known) return known;
  throw new GgufError(
    `${metadata.where}: the architecture is ${JSON.stringify(name.slice(0, 60))}; supported in GGUF files are ${architectures.join(', ')} (mistral is llama there).`,
  );
}

/** Width of a head. */
export function headWidth(metadata: Metadata, architecture: Architecture): number {
  const given = metadata.perLayer(`${architecture}.attention.key_length`);
  const values = metadata.perLayer(`${architecture}.attention.value_length`);
  if (values !== undefined && given !== undefined && values !== given) {
    throw new GgufError(`${metadata.where}: keys are ${given} wide and values ${values}, which is not supported.`);
  }
  const heads = metadata.need(`${architecture}.attention.head_count`, (key) => metadata.perLayer(key));
  const width = given ?? metadata.need(`${architecture}.embedding_length`, (key) => metadata.integer(key)) / heads;
  if (Number.isInteger(width) && width >= 2 && width % 2 === 0) return width;
  throw new GgufError(`${metadata.where}: heads are ${width} wide, expected an even number.`);
}

function ropeParameters(metadata: Metadata, architecture: Architecture, facts: TensorFacts): Record<string, unknown> {
  const at = (name: string) => `${architecture}.rope.${name}`;
  const base = { rope_theta: metadata.number(at('freq_base')) ?? 10_000 };
  const context = metadata.need(`${architecture}.context_length`, (key) => metadata.integer(key));
  const original = metadata.integer(at('scaling.original_context_length')) ?? context;
  const { always, long, short } = facts.ropeFactors;
  const attention = metadata.number(at('scaling.attn_factor'));
  if (always || long || short) {
    const factors = { short_factor: short ?? always ?? long, long_factor: long ?? always ?? short };
    const settings = { factor: 1, attention_factor: attention ?? 1, original_max_position_embeddings: original };
    return { rope_type: 'longrope', ...base, ...factors, ...settings };
  }
  const type = metadata.string(at('scaling.type')) ?? (metadata.has(at('scale_linear')) ? 'linear' : 'none');
  const factor = metadata.number(at('scaling.factor')) ?? metadata.number(at('scale_linear')) ?? 1;
  if (type === 'none' || (type === 'linear' && factor === 1)) return { rope_type: 'default', ...base };
  if (type === 'linear') return { rope_type: 'linear', ...base, factor };
  if (type === 'yarn') {
    const betas = {
      beta_fast: metadata.number(at('scaling.yarn_beta_fast')),
      beta_slow: metadata.number(at('scaling.yarn_beta_slow')),
    };
    return {
      rope_type: 'yarn',
      ...base,
      factor,
      original_max_position_embeddings: original,
      ...Object.fromEntries(Object.entries(betas).filter(([, value]) => value !== undefined)),
      ...(attention === undefined ? {} : { attention_factor: attention * (1 + 0.1 * Math.log(Math.max(1, factor))) }),
    };
  }
  throw new GgufError(
    `${metadata.where}: the rope scaling is ${JSON.stringify(type.slice(0, 60))}; supported are none, linear, yarn, and factors held in tensors.`,
  );
}

/** Refuses what would change the result and is not computed. */
function refuseOthers(metadata: Metadata, architecture: Architecture): void {
  if (metadata.integer(`${architecture}.expert_count`)) {
    throw new GgufError(`${metadata.where}: it is a mixture of experts, which is not supported.`);
  }
  for (const key of ['attention.clamp_kqv', 'attn_logit_softcapping', 'final_logit_softcapping', 'logit_scale']) {
    if (metadata.number(`${architecture}.${key}`)) {
      throw new GgufError(`${metadata.where}: ${architecture}.${key} is set, which is not supported.`);
    }
  }
  if (architecture !== 'llama' && metadata.perLayer(`${architecture}.attention.sliding_window`)) {
    throw new GgufError(
      `${metadata.where}: some of its layers look back on a window only, and the file does not say which; that is not supported.`,
    );
  }
}

/**
 * The config.json that a GGUF file's metadata amounts to.
 *
 * @throws GgufError for an architecture or a feature that is not supported, and for metadata that is incomplete or malformed.
 */
export function configOf(metadata: Metadata, facts: TensorFacts): Record<string, unknown> {
  const architecture = architectureOf(metadata);
  refuseOthers(metadata, architecture);
  const need = (name: string) => metadata.need(`${architecture}.${name}`, (key) => metadata.perLayer(key));
  const headDim = headWidth(metadata, architecture);
  const turning = metadata.integer(`${architecture}.rope.dimension_count`) ?? headDim;
  const heads = need('attention.head_count');
  const window = metadata.integer(`${architecture}.attention.sliding_window`);
  const modelType = architecture === 'llama' && window ? 'mistral' : architecture;
  const tokens = {
    bos_token_id: metadata.integer('tokenizer.ggml.bos_token_id'),
    eos_token_id: metadata.integer('tokenizer.ggml.eos_token_id'),
  };
  return {
    model_type: modelType,
    vocab_size: facts.vocabSize,
    hidden_size: need('embedding_length'),
    intermediate_size: need('feed_forward_length'),
    num_hidden_layers: need('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: metadata.perLayer(`${architecture}.attention.head_count_kv`) ?? heads,
    head_dim: headDim,
    hidden_act: 'silu',
    max_position_embeddings: need('context_length'),
    rms_norm_eps: metadata.need(`${architecture}.attention.layer_norm_rms_epsilon`, (key) => metadata.number(key)),
    rope_parameters: ropeParameters(metadata, architecture, facts),
    ...(turning === headDim ? {} : { partial_rotary_factor: turning / headDim }),
    tie_word_embeddings: !facts.has('output.weight'),
    ...(modelType === 'llama' || modelType === 'qwen3' ? { attention_bias: facts.has('blk.0.attn_q.bias') } : {}),
    ...(modelType === 'llama' ? { mlp_bias: facts.has('blk.0.ffn_gate.bias') } : {}),
    ...(modelType === 'mistral' ? { sliding_window: window } : {}),
    ...tokens,
  };
}

/** Names of tokens that end a turn, which files do not always give as such. */
const endTexts = new Set(['<|im_end|>', '<|eot_id|>', '<|eom_id|>', '<|endoftext|>', '<|end_of_text|>', '<|end|>']);
const controlToken = 3;

/** The generation_config.json that a GGUF file's metadata amounts to: the tokens that end a text, and how it wants to be sampled. */
export function generationConfigOf(metadata: Metadata): Record<string, unknown> {
  const texts = metadata.strings('tokenizer.ggml.tokens') ?? [];
  const kinds = metadata.numbers('tokenizer.ggml.token_type');
  const named = ['eos', 'eot', 'eom'].map((role) => metadata.integer(`tokenizer.ggml.${role}_token_id`));
  const known = texts.flatMap((text, id) => (endTexts.has(text) && kinds?.[id] === controlToken ? [id] : []));
  const ends = [...new Set([...named.filter((id) => id !== undefined), ...known])];
  const sampling = {
    temperature: metadata.number('general.sampling.temp'),
    top_k: metadata.integer('general.sampling.top_k'),
    top_p: metadata.number('general.sampling.top_p'),
    min_p: metadata.number('general.sampling.min_p'),
  };
  const given = Object.entries(sampling).filter(([, value]) => value !== undefined);
  return {
    ...(ends.length > 0 ? { eos_token_id: ends } : {}),
    ...(given.length > 0 ? { do_sample: sampling.temperature !== 0, ...Object.fromEntries(given) } : {}),
  };
}
