/**
 * OLMo 2: blocks whose norms stand behind attention and mlp, before the sum; attention with grouped queries, queries and keys normalised
 * over all heads together, rotary positions; gated mlp.
 *
 * Source: https://arxiv.org/abs/2501.00656. Fields of the config and names of weights are those of the checkpoints.
 */
import type { Attention, AttentionState } from '@forerun/attention';
import type { ConfigJson, Weights } from '@forerun/checkpoints';
import type { Decoder } from '@forerun/contracts';
import { gatedMlp, type Layer, linear, rmsNorm, rotary, type SequenceLayer } from '@forerun/layers';
import { type DecoderConfig, decoderConfig, headsByLayer } from './config/decoder-config.ts';
import { modelFields } from './config/fields.ts';
import { decoderStack, outputHead } from './decoder.ts';

/** Configuration of an OLMo 2 decoder. */
export interface Olmo2Config extends DecoderConfig {
  /** Whether the four projections of attention have biases. */
  readonly attentionBias: boolean;
}

/**
 * Reads the config.json of an OLMo 2 checkpoint.
 *
 * @throws ModelConfigError for a field that is missing or malformed; UnsupportedModelError for one that asks for something else;
 *   RopeConfigError for rope settings that are unknown or incomplete.
 */
export function olmo2Config(json: ConfigJson): Olmo2Config {
  const fields = modelFields(json);
  const config = decoderConfig(fields, 'olmo2', { implemented: ['attention_bias'] });
  return {
    ...config,
    slidingWindows: Array.from({ length: config.numHiddenLayers }, () => undefined),
    attentionBias: fields.boolean('attention_bias', false),
  };
}

function attention(c: Olmo2Config, w: Weights, layer: number): SequenceLayer<AttentionState> {
  const { hiddenSize: D, numAttentionHeads: H, numKeyValueHeads: K, headDim: E, attentionBias: bias } = c;
  const qProj = linear(w.at('q_proj'), [H * E, D], { bias });
  const kProj = linear(w.at('k_proj'), [K * E, D], { bias });
  const vProj = linear(w.at('v_proj'), [K * E, D], { bias });
  const oProj = linear(w.at('o_proj'), [D, H * E], { bias });
  const qNorm = rmsNorm(w.at('q_norm'), H * E, c.rmsNormEps);
  const kNorm = rmsNorm(w.at('k_norm'), K * E, c.rmsNormEps);
  const turn = rotary(c.rope);

  return (x, rows, state) => {
    const M = x.shape[0]!;
    const q = turn(qNorm(qProj(x)).reshape([M, H, E]), rows);
    const k = turn(kNorm(kProj(x)).reshape([M, K, E]), rows);
    const v = vProj(x).reshape([M, K, E]);
    return oProj(state.attend(layer, { q, k, v }, rows).reshape([M, H * E]));
  };
}

function mlp(c: Olmo2Config, w: Weights): Layer {
  return gatedMlp(w, [c.hiddenSize, c.intermediateSize], { act: c.hiddenAct });
}

function block(c: Olmo2Config, w: Weights, layer: number): SequenceLayer<AttentionState> {
  const selfAttn = attention(c, w.at('self_attn'), layer);
  const postAttentionLayernorm = rmsNorm(w.at('post_attention_layernorm'), c.hiddenSize, c.rmsNormEps);
  const feedForward = mlp(c, w.at('mlp'));
  const postFeedforwardLayernorm = rmsNorm(w.at('post_feedforward_layernorm'), c.hiddenSize, c.rmsNormEps);

  return (x, rows, state) => {
    const h = x.add(postAttentionLayernorm(selfAttn(x, rows, state)));
    return h.add(postFeedforwardLayernorm(feedForward(h)));
  };
}

/**
 * An OLMo 2 decoder over the weights at and below `w`.
 *
 * @param attend - Makes what attention keeps of one conversation.
 * @throws ShapeError or DTypeError for a weight that does not fit the config. Missing and unread names are errors of `w.finish()`.
 */
export function olmo2(c: Olmo2Config, w: Weights, attend: Attention): Decoder {
  const { vocabSize: V, hiddenSize: D } = c;
  const model = w.at('model');
  const embedTokens = model.at('embed_tokens').tensor('weight', [V, D]);
  return decoderStack({
    config: c,
    embedTokens,
    blocks: Array.from({ length: c.numHiddenLayers }, (_, layer) => block(c, model.at('layers').at(layer), layer)),
    norm: rmsNorm(model.at('norm'), D, c.rmsNormEps),
    lmHead: outputHead(w, [V, D], c.tieWordEmbeddings ? embedTokens : undefined),
    memory: (capacityTokens, options) => attend(headsByLayer(c), capacityTokens, options),
  });
}
