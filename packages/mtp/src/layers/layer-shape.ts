import type { AttentionLayer } from '@forerun/attention';
import type { ConfigFields } from '@forerun/checkpoints';
import { type Activation, activations, rotarySpeeds } from '@forerun/layers';
import type { RopeFrequencies } from '@forerun/tensor';

/** Sizes of one transformer layer; names are those of config.json in camel case. */
export interface LayerShape {
  /** D. */
  readonly hiddenSize: number;
  /** F. */
  readonly intermediateSize: number;
  /** H. */
  readonly numAttentionHeads: number;
  /** K. */
  readonly numKeyValueHeads: number;
  /** E. */
  readonly headDim: number;
  readonly hiddenAct: Activation;
  readonly rmsNormEps: number;
  readonly rope: RopeFrequencies;
  /** Longest context that it was made for. */
  readonly maxPositions: number;
}

/**
 * Reads the sizes of a layer from a configuration of llama's form.
 *
 * @throws HeadConfigError for a field that is missing or does not fit; RopeConfigError.
 */
export function layerShape(fields: ConfigFields): LayerShape {
  for (const name of ['quantization_config', 'attn_logit_softcapping', 'attention_chunk_size']) fields.refuse(name, []);
  fields.refuse('use_sliding_window', [false]);
  const hiddenSize = fields.integer('hidden_size', { min: 1, max: 2 ** 20 });
  const numAttentionHeads = fields.integer('num_attention_heads', { min: 1, max: 2 ** 14 });
  const numKeyValueHeads = fields.integer('num_key_value_heads', { min: 1, max: numAttentionHeads }, numAttentionHeads);
  if (numAttentionHeads % numKeyValueHeads !== 0)
    throw fields.error('num_key_value_heads', `a divisor of num_attention_heads (${numAttentionHeads})`);
  const headDim = fields.integer('head_dim', { min: 2, max: 2 ** 14 }, hiddenSize / numAttentionHeads);
  const maxPositions = fields.integer('max_position_embeddings', { min: 1 });
  return {
    hiddenSize,
    intermediateSize: fields.integer('intermediate_size', { min: 1, max: 2 ** 22 }),
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    hiddenAct: fields.word('hidden_act', activations, 'silu'),
    rmsNormEps: fields.number('rms_norm_eps', { min: 0 }),
    rope: rotarySpeeds(fields, headDim),
    maxPositions,
  };
}

/** What the cache of such a layer holds. */
export function cachedHeads({ numKeyValueHeads, headDim }: LayerShape): AttentionLayer {
  return { kvHeads: numKeyValueHeads, headDim };
}
