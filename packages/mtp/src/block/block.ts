/**
 * Block drafters: DFlash (arXiv:2602.06036) and JetSpec (arXiv:2606.18394). One pass over the anchor and mask tokens guesses a whole block.
 * Every layer looks at the block and at a context that is made of features of the target's layers:
 * `c_t = hidden_norm(fc([f_1; …; f_n]_t))`, whose keys and values go through the same projections as those of the block.
 */
import { type Attention, type AttentionState, softmaxAttention } from '@forerun/attention';
import type { Checkpoint, ConfigFields, Weights } from '@forerun/checkpoints';
import type { DecoderState, DecoderStateOptions, Rows, TargetOutputs } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { rmsNorm, rotary } from '@forerun/layers';
import { ArgumentError, concat, slice, type Tensor, type Weight } from '@forerun/tensor';
import { headFields } from '../config/head-fields.ts';
import { cachedHeads, type LayerShape, layerShape } from '../layers/layer-shape.ts';
import { expectFit, type HeadTarget, storedShape } from '../target.ts';
import { gatedMlp, linear } from '../layers/stored-biases.ts';

/** A head that guesses a block of tokens in one pass. All methods but `state` build graph. */
export interface BlockHead {
  /** The layers of the target whose inputs are features. */
  readonly needs: { readonly taps: readonly number[] };
  /** Every weight of its own, for `loadWeights`. */
  readonly weights: readonly Weight[];
  /** Rows of its pass: the anchor and masks. */
  readonly blockSize: number;
  /** Tokens that it guesses. */
  readonly drafts: number;
  /** What stands for a token to be guessed. */
  readonly maskToken: number;
  /** Whether a row sees only the rows before it in the block. */
  readonly causal: boolean;
  /** Longest context that it was made for. */
  readonly maxPositions: number;
  /** Declares the caches of one conversation: of the context, and behind it of a block. */
  state(capacityTokens: number, options: DecoderStateOptions): DecoderState;
  /** Takes features of positions into the context. `rows.inputs` is not read. */
  ingest(rows: Rows, target: Pick<TargetOutputs, 'taps'>, state: DecoderState): void;
  /**
   * Logits `[drafts, V]` of the tokens behind the anchor.
   *
   * @param rows - `inputs`: `[blockSize]` u32, the anchor and masks; `depths` name the last slot that each row sees.
   */
  logits(rows: Rows, state: DecoderState): Tensor;
}

interface BlockLayer {
  ingest(context: Tensor, rows: Rows, state: AttentionState): void;
  forward(x: Tensor, rows: Rows, state: AttentionState): Tensor;
}

/**
 * A block drafter of z-lab's form (`dflash_config`) or of speculators'.
 *
 * @param attention - Makes what its layers keep of a conversation; exact softmax attention by default.
 * @throws MismatchedPartsError for another hidden size or layer numbers than the target's, or a mask outside of its vocabulary;
 *   HeadConfigError, RopeConfigError; WeightNameError for names that are missing or unknown.
 */
export async function blockHead(
  checkpoint: Checkpoint,
  target: HeadTarget,
  attention: Attention = softmaxAttention,
): Promise<BlockHead> {
  const what = `Block drafter of ${checkpoint.source.describe()}`;
  const outer = headFields(await checkpoint.config());
  const inner = outer.inside('dflash_config') ?? outer;
  const layerFields = outer.inside('transformer_layer_config') ?? outer;
  for (const name of ['conv_kernel_size', 'projector_type', 'markov_rank', 'final_logit_softcapping'])
    inner.refuse(name, []);
  outer.refuse('sliding_window_non_causal', [false]);
  const shape = layerShape(layerFields);
  const { hiddenSize: D, rmsNormEps: epsilon } = shape;
  expectFit(what, 'hidden size', [D, target.hiddenSize]);
  const taps = featureLayers(outer, inner, { what, layers: target.layerCount });
  const F = taps.length * D;
  expectFit(what, `features (${taps.length} layers) as wide as`, [storedShape(checkpoint, 'fc.weight')?.[1] ?? F, F]);
  const blockSize = (inner.has('block_size') ? inner : outer).integer('block_size', { min: 2, max: 64 });
  const maskToken = inner.integer('mask_token_id', { min: 0 });
  if (maskToken >= target.vocabSize) {
    throw new MismatchedPartsError(
      `${what}: its mask is token ${maskToken}, this target's vocabulary has ${target.vocabSize}. Load the drafter that belongs to it.`,
    );
  }
  const fromAnchor = outer.boolean('sample_from_anchor', false);
  const drafts = fromAnchor ? blockSize : blockSize - 1;
  const w = checkpoint.weights();
  const fc = linear(w.at('fc'), [D, F]);
  const hiddenNorm = rmsNorm(w.at('hidden_norm'), D, epsilon);
  const norm = rmsNorm(w.at('norm'), D, epsilon);
  const count = layerFields.integer('num_hidden_layers', { min: 1, max: 64 });
  const layers = Array.from({ length: count }, (_, layer) => blockLayer(w.at('layers').at(layer), shape, layer));

  return {
    needs: { taps },
    weights: w.finish({ ignore: [/\.rotary_emb\.inv_freq$/] }),
    blockSize,
    drafts,
    maskToken,
    causal: inner.boolean('causal_head', false),
    maxPositions: shape.maxPositions,
    state: (capacityTokens, options) =>
      attention(
        layers.map(() => cachedHeads(shape)),
        capacityTokens,
        { name: 'block', ...options },
      ),
    ingest(rows, outputs, state) {
      if (outputs.taps?.length !== taps.length) {
        throw new ArgumentError(
          `${what}: expected taps of ${taps.length} layers, got ${outputs.taps?.length ?? 'none'}.`,
        );
      }
      const context = hiddenNorm(fc(concat(outputs.taps, 1)));
      for (const layer of layers) layer.ingest(context, rows, state as AttentionState);
    },
    logits(rows, state) {
      const hidden = layers.reduce(
        (x, layer) => layer.forward(x, rows, state as AttentionState),
        target.embed(rows.inputs),
      );
      const used = fromAnchor ? hidden : slice(hidden, 0, [1, blockSize]);
      return target.head(norm(used));
    },
  };
}

/** The layers whose inputs are features. z-lab numbers outputs of layers: that of layer i enters layer i + 1. */
function featureLayers(
  outer: ConfigFields,
  inner: ConfigFields,
  { what, layers }: { what: string; layers: number },
): readonly number[] {
  const outputs = inner.integers('target_layer_ids', { min: 0 })?.map((layer) => layer + 1);
  const taps = outputs ?? outer.integers('aux_hidden_state_layer_ids', { min: 0 });
  if (!taps || taps.length === 0) throw inner.error('target_layer_ids', 'a list of layers of the target');
  const made = outer.has('num_target_layers') ? outer.integer('num_target_layers', { min: 1 }) : layers;
  expectFit(what, 'a number of layers', [made, layers]);
  const absent = taps.find((layer) => layer > layers);
  if (absent === undefined) return taps;
  throw new MismatchedPartsError(
    `${what}: takes the input of layer ${absent}, and this target has ${layers} layers. Load the drafter that belongs to it.`,
  );
}

/** A layer of Qwen 3's form whose keys and values also come from the context. */
function blockLayer(w: Weights, shape: LayerShape, layer: number): BlockLayer {
  const { hiddenSize: D, numAttentionHeads: H, numKeyValueHeads: K, headDim: E, rmsNormEps: epsilon } = shape;
  const at = w.at('self_attn');
  const qProj = linear(at.at('q_proj'), [H * E, D]);
  const kProj = linear(at.at('k_proj'), [K * E, D]);
  const vProj = linear(at.at('v_proj'), [K * E, D]);
  const oProj = linear(at.at('o_proj'), [D, H * E]);
  const qNorm = rmsNorm(at.at('q_norm'), E, epsilon);
  const kNorm = rmsNorm(at.at('k_norm'), E, epsilon);
  const inputLayernorm = rmsNorm(w.at('input_layernorm'), D, epsilon);
  const attentionNorm = rmsNorm(w.at('post_attention_layernorm'), D, epsilon);
  const mlp = gatedMlp(w.at('mlp'), [D, shape.intermediateSize], shape.hiddenAct);
  const turn = rotary(shape.rope);
  const heads = (x: Tensor, rows: Rows) => {
    const M = x.shape[0]!;
    return {
      q: turn(qNorm(qProj(x).reshape([M, H, E])), rows),
      k: turn(kNorm(kProj(x).reshape([M, K, E])), rows),
      v: vProj(x).reshape([M, K, E]),
    };
  };
  return {
    // What the context itself would see is read by nobody, so that only its keys and values are computed.
    ingest: (context, rows, state) => void state.attend(layer, heads(context, rows), rows),
    forward(x, rows, state) {
      const seen = state.attend(layer, heads(inputLayernorm(x), rows), rows);
      const h = x.add(oProj(seen.reshape([x.shape[0]!, H * E])));
      return h.add(mlp(attentionNorm(h)));
    },
  };
}
