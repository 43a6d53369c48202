import type { AttentionLayer } from '@forerun/attention';
import type { ConfigFields } from '@forerun/checkpoints';
import { type Activation, activations, rotarySpeeds } from '@forerun/layers';
import { parseRope, type RopeFrequencies } from '@forerun/tensor';
import { UnsupportedModelError } from '../errors.ts';

/** What every decoder of this package says of itself; names are those of config.json in camel case. */
export interface DecoderConfig {
  readonly modelType: string;
  /** V. */
  readonly vocabSize: number;
  /** D. */
  readonly hiddenSize: number;
  /** F, width of the mlp. */
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  /** H, query heads. */
  readonly numAttentionHeads: number;
  /** K, heads of keys and values; each serves H / K query heads. */
  readonly numKeyValueHeads: number;
  /** E, width of a head; not always D / H. */
  readonly headDim: number;
  readonly hiddenAct: Activation;
  /** Longest context that the model was made for, in tokens. */
  readonly maxPositionEmbeddings: number;
  readonly rmsNormEps: number;
  readonly tieWordEmbeddings: boolean;
  /** How fast the pairs of a head turn. */
  readonly rope: RopeFrequencies;
  /** Tokens that each layer's attention looks back on, the present one included; undefined where it sees all, 0 where there is none. */
  readonly slidingWindows: readonly (number | undefined)[];
  /** Matrices `[N, K]` of all layers, where they are others than those of a gated mlp and attention with grouped queries. */
  readonly matrices?: readonly (readonly [outputs: number, inputs: number])[];
  /** Those of them that one token is multiplied with, where that is not all: with experts, as many as run on a row. */
  readonly matricesPerToken?: readonly (readonly [outputs: number, inputs: number])[];
}

/**
 * Fields of configurations in use that change the result, with the values that do not. A family reads those that it implements
 * before, and names them in `implemented`.
 */
const neutralValues: Readonly<Record<string, readonly unknown[]>> = {
  quantization_config: [],
  compression_config: [],
  pretraining_tp: [1],
  partial_rotary_factor: [1],
  attention_bias: [false],
  qkv_bias: [false],
  mlp_bias: [false],
  use_bias: [false],
  sliding_window: [],
  use_sliding_window: [false],
  attention_chunk_size: [],
  no_rope_layers: [],
  rope_interleaved: [false],
  alibi: [false],
  use_mrope: [false],
  use_qk_norm: [false],
  qk_layernorm: [false],
  qk_norm: [false],
  clip_qkv: [],
  attn_logit_softcapping: [],
  final_logit_softcapping: [],
  query_pre_attn_scalar: [],
  attention_multiplier: [],
  embedding_multiplier: [1],
  residual_multiplier: [1],
  logits_scaling: [1],
  scale_emb: [1],
  scale_depth: [],
  dim_model_base: [],
  attn_temperature_tuning: [false],
  parallel_attn: [false],
  use_parallel_residual: [false],
  num_local_experts: [0],
  num_experts: [0],
  is_encoder_decoder: [false],
  add_cross_attention: [false],
};

/**
 * The fields that all families share.
 *
 * @param options.headDim - Width of a head where the configuration does not say; D / H by default.
 * @param options.partialRotary - Whether the family lets a part of each head turn.
 * @param options.implemented - Fields of the table above that the family reads itself.
 * @throws ModelConfigError for a field that is missing or malformed; UnsupportedModelError for one that asks for something else.
 */
export function decoderConfig(
  fields: ConfigFields,
  modelType: string,
  options: { headDim?: number; implemented?: readonly string[]; partialRotary?: boolean } = {},
): Omit<DecoderConfig, 'slidingWindows'> {
  for (const [name, neutral] of Object.entries(neutralValues)) {
    if (!options.implemented?.includes(name)) fields.refuse(name, neutral);
  }
  const hiddenSize = fields.integer('hidden_size', { min: 1, max: 2 ** 20 });
  const numAttentionHeads = fields.integer('num_attention_heads', { min: 1, max: 2 ** 14 });
  const numKeyValueHeads = fields.integer('num_key_value_heads', { min: 1, max: numAttentionHeads }, numAttentionHeads);
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    throw fields.error('num_key_value_heads', `a divisor of num_attention_heads (${numAttentionHeads})`);
  }
  const headDim = fields.integer(
    'head_dim',
    { min: 2, max: 2 ** 14 },
    options.headDim ?? hiddenSize / numAttentionHeads,
  );
  if (!Number.isInteger(headDim)) {
    throw fields.error('num_attention_heads', `a divisor of hidden_size (${hiddenSize}), or a head_dim`);
  }
  if (headDim % 2 !== 0) {
    throw new UnsupportedModelError(
      `${fields.file}: heads are ${headDim} wide; rotary positions turn pairs, so an even width is expected.`,
    );
  }
  return {
    modelType: fields.word('model_type', [modelType]),
    vocabSize: fields.integer('vocab_size', { min: 1, max: 2 ** 24 }),
    hiddenSize,
    intermediateSize: fields.integer('intermediate_size', { min: 1, max: 2 ** 22 }),
    numHiddenLayers: fields.integer('num_hidden_layers', { min: 1, max: 2 ** 12 }),
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    hiddenAct: fields.word('hidden_act', activations, 'silu'),
    maxPositionEmbeddings: fields.integer('max_position_embeddings', { min: 1 }),
    rmsNormEps: fields.number('rms_norm_eps', { min: 0, max: 1 }),
    tieWordEmbeddings: fields.boolean('tie_word_embeddings', false),
    rope: speedsOf(fields, headDim, options.partialRotary ?? false),
  };
}

/** Rotation speeds of whole heads, or of a part of each where the family has that. */
function speedsOf(fields: ConfigFields, headDim: number, partial: boolean): RopeFrequencies {
  const speeds = rotarySpeeds(fields, headDim);
  const { type } = parseRope(fields.json, { headDim });
  if (type !== 'proportional' && (partial || speeds.rotaryWidth === headDim)) return speeds;
  throw new UnsupportedModelError(
    `${fields.file}: only a part of each head turns (partial_rotary_factor, or rope type proportional), which this model type does not have. This checkpoint cannot be run.`,
  );
}

/** What attention has to know of each layer. */
export function headsByLayer(c: DecoderConfig): readonly AttentionLayer[] {
  const heads = { kvHeads: c.numKeyValueHeads, headDim: c.headDim };
  return c.slidingWindows.map((window) => (window === undefined ? heads : { ...heads, window }));
}
