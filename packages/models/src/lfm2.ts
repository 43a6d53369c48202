/**
 * LFM2: pre-norm blocks of two kinds, most with a short convolution between gates, some with attention of grouped queries and norms of
 * query and key heads; a gated mlp in all of them. What it keeps of a conversation is partly recurrent, so it verifies chains, no trees.
 *
 * Source: https://arxiv.org/abs/2511.23404. Fields of the config and names of weights are those of the checkpoints.
 */
import type { Attention, AttentionState } from '@forerun/attention';
import type { ConfigFields, ConfigJson, Weights } from '@forerun/checkpoints';
import type { Decoder, DecoderState } from '@forerun/contracts';
import { gatedProduct, type Layer, linear, rmsNorm, rotary, type SequenceLayer } from '@forerun/layers';
import { type DecoderConfig, decoderConfig } from './config/decoder-config.ts';
import { modelFields } from './config/fields.ts';
import { convolutionLayers } from './config/layer-types.ts';
import { decoderStack, outputHead } from './decoder.ts';
import { type ConvolutionState, convolutionState } from './layers/convolution-state.ts';
import { jointState } from './layers/joint-state.ts';
import { shortConvolution } from './layers/short-convolution.ts';

/** Configuration of an LFM2 decoder. */
export interface Lfm2Config extends DecoderConfig {
  /** Whether each layer has a convolution; the others have attention. */
  readonly convolutions: readonly boolean[];
  /** Taps of a convolution, `conv_L_cache`. */
  readonly convKernel: number;
  /** Whether convolutions and their projections have biases. */
  readonly convBias: boolean;
}

/** What an LFM2 decoder keeps of a conversation. */
interface Lfm2State extends DecoderState {
  readonly attention: AttentionState;
  readonly convolution: ConvolutionState;
}

/**
 * Reads the config.json of an LFM2 checkpoint, in either spelling: that of Liquid AI (`block_ff_dim`, `tie_embedding`, `full_attn_idxs`) or
 * that of transformers.
 *
 * @throws ModelConfigError for a field that is missing or malformed; UnsupportedModelError for one that asks for something else;
 *   RopeConfigError for rope settings that are unknown or incomplete.
 */
export function lfm2Config(json: ConfigJson): Lfm2Config {
  const written = modelFields(json);
  const either = (...names: readonly string[]) => json[names.find((name) => written.has(name)) ?? names[0]!];
  const fields = modelFields({
    ...json,
    rms_norm_eps: json['norm_eps'] ?? 1e-5,
    intermediate_size: either('block_ff_dim', 'intermediate_size'),
    tie_word_embeddings: either('tie_embedding', 'tie_word_embeddings') ?? true,
    ...ropeBase(json),
  });
  const config = decoderConfig(fields, 'lfm2');
  const { hiddenSize: D, numAttentionHeads: H, numKeyValueHeads: K, headDim: E } = config;
  const intermediateSize = mlpWidth(fields, config.intermediateSize);
  const convolutions = convolutionLayers(fields, config.numHiddenLayers);
  const attentionMatrices = [
    [(H + 2 * K) * E, D],
    [D, H * E],
  ] as const;
  const convolutionMatrices = [
    [3 * D, D],
    [D, D],
  ] as const;
  const mlpMatrices = [
    [2 * intermediateSize, D],
    [D, intermediateSize],
  ] as const;
  return {
    ...config,
    intermediateSize,
    hiddenAct: 'silu',
    convolutions,
    convKernel: fields.integer('conv_L_cache', { min: 1, max: 1024 }, 3),
    convBias: fields.boolean('conv_bias', false),
    slidingWindows: convolutions.map((convolution) => (convolution ? 0 : undefined)),
    matrices: convolutions.flatMap((convolution) => [
      ...(convolution ? convolutionMatrices : attentionMatrices),
      ...mlpMatrices,
    ]),
  };
}

/** The base of rotary speeds, 10⁶ where nothing says another. */
function ropeBase(json: ConfigJson): ConfigJson {
  const theta = json['rope_theta'] ?? 1e6;
  const parameters = json['rope_parameters'];
  if (typeof parameters !== 'object' || parameters === null) return { rope_theta: theta };
  return { rope_parameters: { rope_theta: theta, ...parameters } };
}

/** The mlp's width: with `block_auto_adjust_ff_dim` two thirds of what is written, times a factor, up to the next multiple. */
function mlpWidth(fields: ConfigFields, written: number): number {
  if (!fields.boolean('block_auto_adjust_ff_dim', true)) return written;
  const narrowed = Math.trunc((2 * written) / 3);
  if ('block_ffn_dim_multiplier' in fields.json && !fields.has('block_ffn_dim_multiplier')) return narrowed;
  const factor = fields.number('block_ffn_dim_multiplier', { min: 0 }, 1);
  const multiple = fields.integer('block_multiple_of', { min: 1 }, 256);
  return multiple * Math.ceil(Math.trunc(factor * narrowed) / multiple);
}

function attention(c: Lfm2Config, w: Weights, index: number): SequenceLayer<AttentionState> {
  const { hiddenSize: D, numAttentionHeads: H, numKeyValueHeads: K, headDim: E } = c;
  const qProj = linear(w.at('q_proj'), [H * E, D]);
  const kProj = linear(w.at('k_proj'), [K * E, D]);
  const vProj = linear(w.at('v_proj'), [K * E, D]);
  const outProj = linear(w.at('out_proj'), [D, H * E]);
  const qLayernorm = rmsNorm(w.at('q_layernorm'), E, c.rmsNormEps);
  const kLayernorm = rmsNorm(w.at('k_layernorm'), E, c.rmsNormEps);
  const turn = rotary(c.rope);

  return (x, rows, state) => {
    const M = x.shape[0]!;
    const q = turn(qLayernorm(qProj(x).reshape([M, H, E])), rows);
    const k = turn(kLayernorm(kProj(x).reshape([M, K, E])), rows);
    const v = vProj(x).reshape([M, K, E]);
    return outProj(state.attend(index, { q, k, v }, rows).reshape([M, H * E]));
  };
}

function feedForward(c: Lfm2Config, w: Weights): Layer {
  const { hiddenSize: D, intermediateSize: F } = c;
  return gatedProduct(
    { gate: linear(w.at('w1'), [F, D]), up: linear(w.at('w3'), [F, D]), down: linear(w.at('w2'), [D, F]) },
    c.hiddenAct,
  );
}

function block(c: Lfm2Config, w: Weights, layer: number): SequenceLayer<Lfm2State> {
  const operatorNorm = rmsNorm(w.at('operator_norm'), c.hiddenSize, c.rmsNormEps);
  const ffnNorm = rmsNorm(w.at('ffn_norm'), c.hiddenSize, c.rmsNormEps);
  const mix = operator(c, w, layer);
  const mlp = feedForward(c, w.at('feed_forward'));

  return (x, rows, state) => {
    const h = x.add(mix(operatorNorm(x), rows, state));
    return h.add(mlp(ffnNorm(h)));
  };
}

/** A layer's convolution or attention; each kind counts its own layers, since each has a memory of its own. */
function operator(c: Lfm2Config, w: Weights, layer: number): SequenceLayer<Lfm2State> {
  const convolution = c.convolutions[layer]!;
  const index = c.convolutions.slice(0, layer).filter((other) => other === convolution).length;
  if (convolution) {
    const conv = shortConvolution(w.at('conv'), [c.hiddenSize, c.convKernel], { index, bias: c.convBias });
    return (x, rows, state) => conv(x, rows, state.convolution);
  }
  const selfAttn = attention(c, w.at('self_attn'), index);
  return (x, rows, state) => selfAttn(x, rows, state.attention);
}

/**
 * An LFM2 decoder over the weights at and below `w`.
 *
 * @param attend - Makes what attention keeps of one conversation.
 * @throws ShapeError or DTypeError for a weight that does not fit the config. Missing and unread names are errors of `w.finish()`.
 */
export function lfm2(c: Lfm2Config, w: Weights, attend: Attention): Decoder {
  const { vocabSize: V, hiddenSize: D } = c;
  const model = w.at('model');
  const embedTokens = model.at('embed_tokens').tensor('weight', [V, D]);
  const layers = c.convolutions.filter((convolution) => convolution).length;
  const heads = { kvHeads: c.numKeyValueHeads, headDim: c.headDim };
  return decoderStack<Lfm2State>({
    config: c,
    branching: layers === 0,
    embedTokens,
    blocks: Array.from({ length: c.numHiddenLayers }, (_, layer) => block(c, model.at('layers').at(layer), layer)),
    norm: rmsNorm(model.at('embedding_norm'), D, c.rmsNormEps),
    lmHead: outputHead(w, [V, D], c.tieWordEmbeddings ? embedTokens : undefined),
    memory(capacityTokens, options) {
      const attentionLayers = Array.from({ length: c.numHiddenLayers - layers }, () => heads);
      const attention = attend(attentionLayers, capacityTokens, options);
      const { name, ...rest } = options;
      const convolution = convolutionState({ layers, hiddenSize: D, kernelSize: c.convKernel }, capacityTokens, {
        ...rest,
        name: name === undefined ? 'convolution' : `${name}.convolution`,
      });
      return { ...jointState([attention, convolution]), attention, convolution };
    },
  });
}
