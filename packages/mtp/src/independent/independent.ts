/**
 * Independent heads: layers that each continue from the trunk, the target's layers but its last, on their own. Head i predicts the token
 * i + 2 behind the one whose trunk it sees; norm and output are the target's.
 *
 * Source: Gloeckle et al. 2024, "Better & Faster Large Language Models via Multi-token Prediction", arXiv:2404.19737; names of the
 * checkpoints facebook/multi-token-prediction.
 */
import { type AttentionState, softmaxAttention } from '@forerun/attention';
import type { Checkpoint, ConfigFields, ConfigJson, Weights } from '@forerun/checkpoints';
import type { Decoder, DecoderState, DecoderStateOptions, Rows } from '@forerun/contracts';
import { gatedProduct, rmsNorm, type SequenceLayer } from '@forerun/layers';
import { ArgumentError, rope, type Tensor, type Weight } from '@forerun/tensor';
import { headFields } from '../config/head-fields.ts';
import { HeadConfigError } from '../errors.ts';
import { decoderBlock } from '../layers/decoder-block.ts';
import { cachedHeads, type LayerShape, layerShape } from '../layers/layer-shape.ts';
import { expectFit, type HeadTarget, storedShape } from '../target.ts';
import { linear } from '../layers/stored-biases.ts';

/** Heads that each guess one token from the target's trunk. */
export interface IndependentHeads {
  /** The residual stream that enters the target's last layer. */
  readonly needs: { readonly taps: readonly [number] };
  /** D, width of trunk and hidden states. */
  readonly hiddenSize: number;
  /** Number of heads besides the target's own. */
  readonly count: number;
  /** Longest context that the heads were made for. */
  readonly maxPositions: number;
  /** Every weight of its own, for `loadWeights`. */
  readonly weights: readonly Weight[];
  /** Declares the caches of all heads. */
  state(capacityTokens: number, options: DecoderStateOptions): DecoderState;
  /** Hidden states `[M, D]` of every head, before the final norm, for rows of the trunk `[M, D]`; appends to the caches. Builds graph. */
  forward(rows: Rows, trunk: Tensor, state: DecoderState): readonly Tensor[];
  /** Logits `[M, V]` of hidden states `[M, D]` of a head: of row t of head i, the token t + 2 + i. Builds graph. */
  logits(hidden: Tensor): Tensor;
}

/** Where the sizes of the heads stand. */
export interface IndependentOptions {
  /** `params.json` of the official checkpoint, or the target's `config.json` in llama's form. */
  readonly config: ConfigJson;
}

/** Longest context of the official checkpoints, whose params.json does not name it. */
const officialPositions = 4096;

/** Sizes of an official params.json in the words of config.json. */
function layerFields(config: ConfigJson, innerSize: number): ConfigFields {
  const at = (name: string) => (Object.hasOwn(config, name) ? config[name] : undefined);
  if (at('n_heads') === undefined) return headFields({ ...config, intermediate_size: innerSize });
  const fields = {
    hidden_size: at('dim'),
    num_attention_heads: at('n_heads'),
    num_key_value_heads: at('n_kv_heads'),
    rms_norm_eps: at('norm_eps'),
    rope_theta: at('rope_theta') ?? 10000,
    max_position_embeddings: at('max_seq_len') ?? officialPositions,
    intermediate_size: innerSize,
  };
  return headFields(fields, 'params.json');
}

/** Attention with rotary positions on adjacent pairs, in the names of llama's own checkpoints. */
function attention(w: Weights, shape: LayerShape, layer: number): SequenceLayer<AttentionState> {
  const { hiddenSize: D, numAttentionHeads: H, numKeyValueHeads: K, headDim: E } = shape;
  const wq = linear(w.at('wq'), [H * E, D]);
  const wk = linear(w.at('wk'), [K * E, D]);
  const wv = linear(w.at('wv'), [K * E, D]);
  const wo = linear(w.at('wo'), [D, H * E]);
  return (x, rows, state) => {
    const M = x.shape[0]!;
    const turn = (heads: Tensor) => rope(heads, rows.positions, shape.rope, { spans: rows.spans, interleaved: true });
    const q = turn(wq(x).reshape([M, H, E]));
    const k = turn(wk(x).reshape([M, K, E]));
    const v = wv(x).reshape([M, K, E]);
    return wo(state.attend(layer, { q, k, v }, rows).reshape([M, H * E]));
  };
}

function headLayer(w: Weights, shape: LayerShape, layer: number): SequenceLayer<AttentionState> {
  const { hiddenSize: D, intermediateSize: F, rmsNormEps: epsilon } = shape;
  const mlp = w.at('feed_forward');
  return decoderBlock({
    inputNorm: rmsNorm(w.at('attention_norm'), D, epsilon),
    attention: attention(w.at('attention'), shape, layer),
    attentionNorm: rmsNorm(w.at('ffn_norm'), D, epsilon),
    mlp: gatedProduct(
      { gate: linear(mlp.at('w1'), [F, D]), up: linear(mlp.at('w3'), [F, D]), down: linear(mlp.at('w2'), [D, F]) },
      'silu',
    ),
  });
}

/**
 * Independent heads from the tensors `extra_heads.…` of a checkpoint: `h_i = layer_i(trunk)`, `logits_i = output(norm(h_i))`. Other tensors of
 * the file, such as the whole model's, are left alone.
 *
 * @param target - The model that the heads stand on; its last layer is the first head.
 * @throws MismatchedPartsError for another hidden size than the target's; HeadConfigError for a file without heads, and for sizes that are
 *   missing or do not fit; WeightNameError for names that are missing or unknown.
 */
export function independentHeads(
  checkpoint: Checkpoint,
  target: HeadTarget & Pick<Decoder, 'norm'>,
  { config }: IndependentOptions,
): IndependentHeads {
  const what = `Independent heads of ${checkpoint.source.describe()}`;
  const w = checkpoint.weights().at('extra_heads');
  let count = 0;
  while (w.has(count)) count++;
  const inner = storedShape(checkpoint, 'extra_heads.0.feed_forward.w1.weight');
  if (count === 0 || !inner) {
    throw new HeadConfigError(
      `${what}: expected tensors extra_heads.0.attention.… and extra_heads.0.feed_forward.…, found none. Name the file of the heads.`,
    );
  }
  const shape = layerShape(layerFields(config, inner[0]!));
  expectFit(what, 'hidden size', [inner[1]!, target.hiddenSize]);
  expectFit(what, 'hidden size', [shape.hiddenSize, target.hiddenSize]);
  const layers = Array.from({ length: count }, (_, head) => headLayer(w.at(head), shape, head));
  return {
    needs: { taps: [target.layerCount - 1] },
    hiddenSize: target.hiddenSize,
    count,
    maxPositions: shape.maxPositions,
    weights: w.finish(),
    state: (capacityTokens, options) =>
      softmaxAttention(
        layers.map(() => cachedHeads(shape)),
        capacityTokens,
        { name: 'independent', ...options },
      ),
    forward(rows, trunk, state) {
      if (trunk.shape[1] !== target.hiddenSize) {
        throw new ArgumentError(
          `${what}: expected a trunk of [M, ${target.hiddenSize}], got ${trunk.shape.join(', ')}.`,
        );
      }
      return layers.map((layer) => layer(trunk, rows, state as AttentionState));
    },
    logits: (hidden) => target.head(target.norm(hidden)),
  };
}
