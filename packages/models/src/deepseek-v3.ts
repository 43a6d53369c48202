/**
 * DeepSeek-V3 and -R1: pre-norm blocks; multi-head latent attention; a gated mlp in the first layers, routed experts in the others.
 *
 * Source: https://arxiv.org/abs/2412.19437. Fields of the config and names of weights are those of the checkpoints.
 */
import type { Attention, AttentionState } from '@forerun/attention';
import type { ConfigJson, Weights } from '@forerun/checkpoints';
import type { Decoder } from '@forerun/contracts';
import {
  expertMatrices,
  gatedMlp,
  groupRouting,
  latentAttention,
  latentCache,
  latentShape,
  type LatentShape,
  type Layer,
  rmsNorm,
  routedExperts,
  type RoutedShape,
  type SequenceLayer,
} from '@forerun/layers';
import { type DecoderConfig, decoderConfig } from './config/decoder-config.ts';
import { modelFields } from './config/fields.ts';
import { decoderStack, outputHead } from './decoder.ts';

/** Configuration of a DeepSeek-V3 decoder. */
export interface DeepseekV3Config extends DecoderConfig {
  readonly latent: LatentShape;
  readonly routing: RoutedShape;
  /** Layers from here on have experts. */
  readonly firstKDenseReplace: number;
}

/**
 * Reads the config.json of a DeepSeek-V3 checkpoint.
 *
 * @throws ModelConfigError for a field that is missing or malformed; UnsupportedModelError for one that asks for something else;
 *   RopeConfigError for rope settings that are unknown or incomplete.
 */
export function deepseekV3Config(json: ConfigJson): DeepseekV3Config {
  const fields = modelFields(json);
  const latent = latentShape(fields);
  const config = decoderConfig(fields, 'deepseek_v3', {
    implemented: ['attention_bias'],
    headDim: latent.qkRopeHeadDim,
  });
  fields.refuse('moe_layer_freq', [1]);
  fields.refuse('scoring_func', ['sigmoid']);
  fields.refuse('topk_method', ['noaux_tc']);
  const routing = groupRouting(fields);
  const firstKDenseReplace = fields.integer('first_k_dense_replace', { min: 0 }, 0);
  const matrices = (experts: number) =>
    Array.from({ length: config.numHiddenLayers }, (_, layer) => [
      ...latentMatrices(latent),
      ...(layer < firstKDenseReplace ? denseMatrices(config) : expertMatrices(routing, experts)),
    ]).flat();
  return {
    ...config,
    slidingWindows: Array.from({ length: config.numHiddenLayers }, () => undefined),
    rope: latent.rope,
    latent,
    routing,
    firstKDenseReplace,
    matrices: matrices(routing.experts),
    matricesPerToken: matrices(routing.perToken),
  };
}

function latentMatrices(shape: LatentShape): readonly (readonly [number, number])[] {
  const { hiddenSize: D, numAttentionHeads: H, qLoraRank: Q, kvLoraRank: C } = shape;
  const { qkNopeHeadDim: N, qkRopeHeadDim: R, vHeadDim: Ev } = shape;
  const queries = Q === undefined ? [[H * (N + R), D] as const] : [[Q, D] as const, [H * (N + R), Q] as const];
  return [...queries, [C + R, D], [H * (N + Ev), C], [D, H * Ev]];
}

function denseMatrices({ hiddenSize: D, intermediateSize: F }: Pick<DecoderConfig, 'hiddenSize' | 'intermediateSize'>) {
  return [
    [2 * F, D],
    [D, F],
  ] as const;
}

function mlp(c: DeepseekV3Config, w: Weights, layer: number): Layer {
  if (layer >= c.firstKDenseReplace) return routedExperts(w, c.routing);
  return gatedMlp(w, [c.hiddenSize, c.intermediateSize], { act: c.hiddenAct });
}

function block(c: DeepseekV3Config, w: Weights, layer: number): SequenceLayer<AttentionState> {
  const inputLayernorm = rmsNorm(w.at('input_layernorm'), c.hiddenSize, c.rmsNormEps);
  const selfAttn = latentAttention(w.at('self_attn'), c.latent, layer);
  const postAttentionLayernorm = rmsNorm(w.at('post_attention_layernorm'), c.hiddenSize, c.rmsNormEps);
  const feedForward = mlp(c, w.at('mlp'), layer);

  return (x, rows, state) => {
    const h = x.add(selfAttn(inputLayernorm(x), rows, state));
    return h.add(feedForward(postAttentionLayernorm(h)));
  };
}

/**
 * A DeepSeek-V3 decoder over the weights at and below `w`, without its prediction modules.
 *
 * @param attend - Makes what attention keeps of one conversation.
 * @throws ShapeError or DTypeError for a weight that does not fit the config. Missing and unread names are errors of `w.finish()`.
 */
export function deepseekV3(c: DeepseekV3Config, w: Weights, attend: Attention): Decoder {
  const { vocabSize: V, hiddenSize: D, numHiddenLayers } = c;
  const model = w.at('model');
  const embedTokens = model.at('embed_tokens').tensor('weight', [V, D]);
  const caches = Array.from({ length: numHiddenLayers }, () => latentCache(c.latent));
  return decoderStack({
    config: c,
    embedTokens,
    blocks: Array.from({ length: numHiddenLayers }, (_, layer) => block(c, model.at('layers').at(layer), layer)),
    norm: rmsNorm(model.at('norm'), D, c.rmsNormEps),
    lmHead: outputHead(w, [V, D], c.tieWordEmbeddings ? embedTokens : undefined),
    memory: (capacityTokens, options) => attend(caches, capacityTokens, options),
  });
}
