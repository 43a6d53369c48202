/**
 * Qwen 2 and 2.5, and MiMo-7B, which has their layers: pre-norm blocks; attention with grouped queries, biases on queries, keys and values, rotary positions; gated mlp. Upper
 * layers may slide.
 *
 * Source: https://arxiv.org/abs/2407.10671. Fields of the config and names of weights are those of the checkpoints.
 */
import type { Attention, AttentionState } from '@forerun/attention';
import type { ConfigJson, Weights } from '@forerun/checkpoints';
import type { Decoder } from '@forerun/contracts';
import { gatedMlp, type Layer, linear, rmsNorm, rotary, type SequenceLayer } from '@forerun/layers';
import { type DecoderConfig, decoderConfig, headsByLayer } from './config/decoder-config.ts';
import { modelFields } from './config/fields.ts';
import { windowsByLayer } from './config/layer-types.ts';
import { decoderStack, outputHead } from './decoder.ts';

/** Configuration of a Qwen 2 decoder. */
export type Qwen2Config = DecoderConfig;

/**
 * Reads the config.json of a Qwen 2 or MiMo checkpoint.
 *
 * @throws ModelConfigError for a field that is missing or malformed; UnsupportedModelError for one that asks for something else;
 *   RopeConfigError for rope settings that are unknown or incomplete.
 */
export function qwen2Config(json: ConfigJson): Qwen2Config {
  const fields = modelFields(json);
  const modelType = fields.word('model_type', ['qwen2', 'mimo']);
  const implemented = ['sliding_window', 'use_sliding_window'];
  // MiMo's files say of the biases what those of Qwen 2 take for granted.
  if (modelType === 'mimo') fields.refuse('attention_bias', [true]);
  const config = decoderConfig(fields, modelType, {
    implemented: modelType === 'mimo' ? [...implemented, 'attention_bias'] : implemented,
  });
  return {
    ...config,
    slidingWindows: windowsByLayer(fields, config.numHiddenLayers),
  };
}

function attention(c: Qwen2Config, w: Weights, layer: number): SequenceLayer<AttentionState> {
  const { hiddenSize: D, numAttentionHeads: H, numKeyValueHeads: K, headDim: E } = c;
  const qProj = linear(w.at('q_proj'), [H * E, D], { bias: true });
  const kProj = linear(w.at('k_proj'), [K * E, D], { bias: true });
  const vProj = linear(w.at('v_proj'), [K * E, D], { bias: true });
  const oProj = linear(w.at('o_proj'), [D, H * E]);
  const turn = rotary(c.rope);

  return (x, rows, state) => {
    const M = x.shape[0]!;
    const q = turn(qProj(x).reshape([M, H, E]), rows);
    const k = turn(kProj(x).reshape([M, K, E]), rows);
    const v = vProj(x).reshape([M, K, E]);
    return oProj(state.attend(layer, { q, k, v }, rows).reshape([M, H * E]));
  };
}

function mlp(c: Qwen2Config, w: Weights): Layer {
  return gatedMlp(w, [c.hiddenSize, c.intermediateSize], { act: c.hiddenAct });
}

function block(c: Qwen2Config, w: Weights, layer: number): SequenceLayer<AttentionState> {
  const inputLayernorm = rmsNorm(w.at('input_layernorm'), c.hiddenSize, c.rmsNormEps);
  const selfAttn = attention(c, w.at('self_attn'), layer);
  const postAttentionLayernorm = rmsNorm(w.at('post_attention_layernorm'), c.hiddenSize, c.rmsNormEps);
  const feedForward = mlp(c, w.at('mlp'));

  return (x, rows, state) => {
    const h = x.add(selfAttn(inputLayernorm(x), rows, state));
    return h.add(feedForward(postAttentionLayernorm(h)));
  };
}

/**
 * A Qwen 2 decoder over the weights at and below `w`.
 *
 * @param attend - Makes what attention keeps of one conversation.
 * @throws ShapeError or DTypeError for a weight that does not fit the config. Missing and unread names are errors of `w.finish()`.
 */
export function qwen2(c: Qwen2Config, w: Weights, attend: Attention): Decoder {
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
