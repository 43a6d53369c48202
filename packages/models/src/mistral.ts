/**
 * Mistral: as Llama without biases, and every layer may look back on a sliding window only.
 *
 * Source: https://arxiv.org/abs/2310.06825. Fields of the config and names of weights are those of the checkpoints.
 */
import type { Attention, AttentionState } from '@forerun/attention';
import type { ConfigJson, Weights } from '@forerun/checkpoints';
import type { Decoder } from '@forerun/contracts';
import { gatedMlp, type Layer, linear, rmsNorm, rotary, type SequenceLayer } from '@forerun/layers';
import { type DecoderConfig, decoderConfig, headsByLayer } from './config/decoder-config.ts';
import { modelFields } from './config/fields.ts';
import { oneWindow } from './config/layer-types.ts';
import { decoderStack, outputHead } from './decoder.ts';

/** Configuration of a Mistral decoder. */
export type MistralConfig = DecoderConfig;

/**
 * Reads the config.json of a Mistral checkpoint.
 *
 * @throws ModelConfigError for a field that is missing or malformed; UnsupportedModelError for one that asks for something else;
 *   RopeConfigError for rope settings that are unknown or incomplete.
 */
export function mistralConfig(json: ConfigJson): MistralConfig {
  const fields = modelFields(json);
  const config = decoderConfig(fields, 'mistral', {
    implemented: ['sliding_window'],
  });
  return {
    ...config,
    slidingWindows: oneWindow(fields, config.numHiddenLayers),
  };
}

function attention(c: MistralConfig, w: Weights, layer: number): SequenceLayer<AttentionState> {
  const { hiddenSize: D, numAttentionHeads: H, numKeyValueHeads: K, headDim: E } = c;
  const qProj = linear(w.at('q_proj'), [H * E, D]);
  const kProj = linear(w.at('k_proj'), [K * E, D]);
  const vProj = linear(w.at('v_proj'), [K * E, D]);
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

function mlp(c: MistralConfig, w: Weights): Layer {
  return gatedMlp(w, [c.hiddenSize, c.intermediateSize], { act: c.hiddenAct });
}

function block(c: MistralConfig, w: Weights, layer: number): SequenceLayer<AttentionState> {
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
 * A Mistral decoder over the weights at and below `w`.
 *
 * @param attend - Makes what attention keeps of one conversation.
 * @throws ShapeError or DTypeError for a weight that does not fit the config. Missing and unread names are errors of `w.finish()`.
 */
export function mistral(c: MistralConfig, w: Weights, attend: Attention): Decoder {
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
