/**
 * GLM-4.5 and 4.6: pre-norm blocks; attention with grouped queries, of whose heads a part turns, with norms of query and key heads in some
 * sizes; a gated mlp in the first layers, routed experts in the others.
 *
 * Source: https://arxiv.org/abs/2508.06471. Fields of the config and names of weights are those of the checkpoints.
 */
import type { Attention, AttentionState } from '@forerun/attention';
import type { ConfigJson, Weights } from '@forerun/checkpoints';
import type { Decoder } from '@forerun/contracts';
import {
  expertMatrices,
  gatedMlp,
  groupRouting,
  type Layer,
  linear,
  rmsNorm,
  rotary,
  routedExperts,
  type RoutedShape,
  type SequenceLayer,
} from '@forerun/layers';
import { type DecoderConfig, decoderConfig, headsByLayer } from './config/decoder-config.ts';
import { modelFields } from './config/fields.ts';
import { decoderStack, outputHead } from './decoder.ts';

/** Configuration of a GLM-4.5 decoder. */
export interface Glm4MoeConfig extends DecoderConfig {
  /** Whether queries, keys and values have biases. */
  readonly attentionBias: boolean;
  /** Whether query and key heads are normed. */
  readonly useQkNorm: boolean;
  readonly routing: RoutedShape;
  /** Layers from here on have experts. */
  readonly firstKDenseReplace: number;
}

/**
 * Reads the config.json of a GLM-4.5 checkpoint.
 *
 * @throws ModelConfigError for a field that is missing or malformed; UnsupportedModelError for one that asks for something else;
 *   RopeConfigError for rope settings that are unknown or incomplete.
 */
export function glm4MoeConfig(json: ConfigJson): Glm4MoeConfig {
  const fields = modelFields(json);
  const config = decoderConfig(fields, 'glm4_moe', {
    implemented: ['attention_bias', 'use_qk_norm', 'partial_rotary_factor'],
    partialRotary: true,
  });
  const { hiddenSize: D, intermediateSize: F, numAttentionHeads: H, numKeyValueHeads: K, headDim: E } = config;
  const routing = groupRouting(fields);
  const firstKDenseReplace = fields.integer('first_k_dense_replace', { min: 0 }, 1);
  const attentionMatrices = [
    [(H + 2 * K) * E, D],
    [D, H * E],
  ] as const;
  const denseMatrices = [
    [2 * F, D],
    [D, F],
  ] as const;
  const matrices = (experts: number) =>
    Array.from({ length: config.numHiddenLayers }, (_, layer) => [
      ...attentionMatrices,
      ...(layer < firstKDenseReplace ? denseMatrices : expertMatrices(routing, experts)),
    ]).flat();
  return {
    ...config,
    slidingWindows: Array.from({ length: config.numHiddenLayers }, () => undefined),
    attentionBias: fields.boolean('attention_bias', false),
    useQkNorm: fields.boolean('use_qk_norm', false),
    routing,
    firstKDenseReplace,
    matrices: matrices(routing.experts),
    matricesPerToken: matrices(routing.perToken),
  };
}

function attention(c: Glm4MoeConfig, w: Weights, layer: number): SequenceLayer<AttentionState> {
  const { hiddenSize: D, numAttentionHeads: H, numKeyValueHeads: K, headDim: E, attentionBias: bias } = c;
  const qProj = linear(w.at('q_proj'), [H * E, D], { bias });
  const kProj = linear(w.at('k_proj'), [K * E, D], { bias });
  const vProj = linear(w.at('v_proj'), [K * E, D], { bias });
  const oProj = linear(w.at('o_proj'), [D, H * E]);
  const headNorm = (name: string): Layer => (c.useQkNorm ? rmsNorm(w.at(name), E, c.rmsNormEps) : (x) => x);
  const qNorm = headNorm('q_norm');
  const kNorm = headNorm('k_norm');
  const turn = rotary(c.rope);

  return (x, rows, state) => {
    const M = x.shape[0]!;
    const q = turn(qNorm(qProj(x).reshape([M, H, E])), rows);
    const k = turn(kNorm(kProj(x).reshape([M, K, E])), rows);
    const v = vProj(x).reshape([M, K, E]);
    return oProj(state.attend(layer, { q, k, v }, rows).reshape([M, H * E]));
  };
}

function mlp(c: Glm4MoeConfig, w: Weights, layer: number): Layer {
  if (layer >= c.firstKDenseReplace) return routedExperts(w, c.routing);
  return gatedMlp(w, [c.hiddenSize, c.intermediateSize], { act: c.hiddenAct });
}

function block(c: Glm4MoeConfig, w: Weights, layer: number): SequenceLayer<AttentionState> {
  const inputLayernorm = rmsNorm(w.at('input_layernorm'), c.hiddenSize, c.rmsNormEps);
  const selfAttn = attention(c, w.at('self_attn'), layer);
  const postAttentionLayernorm = rmsNorm(w.at('post_attention_layernorm'), c.hiddenSize, c.rmsNormEps);
  const feedForward = mlp(c, w.at('mlp'), layer);

  return (x, rows, state) => {
    const h = x.add(selfAttn(inputLayernorm(x), rows, state));
    return h.add(feedForward(postAttentionLayernorm(h)));
  };
}

/**
 * A GLM-4.5 decoder over the weights at and below `w`, without its prediction module.
 *
 * @param attend - Makes what attention keeps of one conversation.
 * @throws ShapeError or DTypeError for a weight that does not fit the config. Missing and unread names are errors of `w.finish()`.
 */
export function glm4Moe(c: Glm4MoeConfig, w: Weights, attend: Attention): Decoder {
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
