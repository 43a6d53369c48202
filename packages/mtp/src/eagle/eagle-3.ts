/**
 * EAGLE-3: the residual streams that enter three layers of the target, joined by `fc`, and the embedding of the token behind go through one
 * llama layer whose attention sees both side by side; plain layers may follow. It has a head, and mostly a vocabulary, of its own; without one
 * it ends in the target's.
 *
 * Source: Li et al. 2025, arXiv:2503.01840. Names of the checkpoints of SafeAILab/EAGLE and SpecForge (`midlayer`) and of speculators
 * (`layers.0`).
 */
import { type Attention, type AttentionState, softmaxAttention } from '@forerun/attention';
import type { Checkpoint, ConfigFields, Weights } from '@forerun/checkpoints';
import { MismatchedPartsError } from '@forerun/contracts';
import { type Layer, rmsNorm } from '@forerun/layers';
import { ArgumentError, concat, embedding, slice, type Tensor } from '@forerun/tensor';
import { headFields } from '../config/head-fields.ts';
import { HeadConfigError } from '../errors.ts';
import type { FeatureHead } from '../feature-head.ts';
import { groupedAttention } from '../layers/grouped-attention.ts';
import { cachedHeads, layerShape } from '../layers/layer-shape.ts';
import { furtherBlocks } from '../layers/llama-block.ts';
import { gatedMlp, linear } from '../layers/stored-biases.ts';
import { expectFit, type HeadTarget, storedShape } from '../target.ts';
import { mappedVocabulary, wholeVocabulary } from '../draft-vocabulary.ts';

/**
 * An EAGLE-3 head.
 *
 * @param attention - Makes what its layer keeps of a conversation; exact softmax attention by default.
 * @throws MismatchedPartsError for another hidden size, vocabulary or layer numbers than the target's; HeadConfigError, RopeConfigError;
 *   WeightNameError for names that are missing or unknown.
 */
export async function eagle3Head(
  checkpoint: Checkpoint,
  target: HeadTarget,
  attention: Attention = softmaxAttention,
): Promise<FeatureHead> {
  const what = `EAGLE-3 head of ${checkpoint.source.describe()}`;
  const outer = headFields(await checkpoint.config());
  const shape = layerShape(outer.inside('transformer_layer_config') ?? outer);
  const { hiddenSize: D, rmsNormEps: epsilon } = shape;
  const { vocabSize: V, hiddenSize: Dt } = target;
  const taps = featureLayers(outer, target, what);
  const F = taps.length * Dt;
  expectFit(what, `features (${taps.length} layers) as wide as`, [storedShape(checkpoint, 'fc.weight')?.[1] ?? F, F]);
  const w = checkpoint.weights();
  const stem = w.has('midlayer') ? w.at('midlayer') : w.at('layers').at(0);
  const table = ownEmbedding(w, { checkpoint, what, shape: [V, D], Dt });
  const fc = linear(w.at('fc'), [D, F]);
  const before = featureNorm(w, outer, { F, Dt, epsilon });
  const norm = rmsNorm(w.at('norm'), D, epsilon);
  const hiddenNorm = rmsNorm(stem.at('hidden_norm'), D, epsilon);
  const inputLayernorm = rmsNorm(stem.at('input_layernorm'), D, epsilon);
  const attend = groupedAttention(stem.at('self_attn'), shape, { layer: 0, inputs: 2 * D });
  const attentionNorm = rmsNorm(stem.at('post_attention_layernorm'), D, epsilon);
  const mlp = gatedMlp(stem.at('mlp'), [D, shape.intermediateSize], shape.hiddenAct);
  const further = furtherBlocks(w.at('layers'), shape);
  const own = storedShape(checkpoint, 'lm_head.weight')?.[0] ?? V;
  if (!w.has('lm_head')) expectFit(what, 'hidden size', [D, Dt]);
  const lmHead = w.has('lm_head') ? linear(w.at('lm_head'), [own, D]) : target.head;
  const declared = outer.has('draft_vocab_size') ? outer.integer('draft_vocab_size', { min: 1 }) : undefined;
  const { size, ...vocabulary } = w.has('d2t')
    ? await mappedVocabulary(checkpoint, { own, target: V, declared })
    : wholeVocabulary(own);
  if (!w.has('d2t')) expectFit(what, 'a vocabulary of', [own, V]);
  const normedResidual = outer.boolean('norm_before_residual', false);
  const recyclesNormed = outer.boolean('norm_output', false);

  return {
    name: 'eagle-3',
    needs: { taps },
    weights: w.finish({ ignore: ['d2t', 't2d', /\.rotary_emb\.inv_freq$/] }),
    hiddenSize: D,
    vocabSize: size,
    layerCount: 1,
    maxPositions: shape.maxPositions,
    state: (capacityTokens, options) =>
      attention(
        [undefined, ...further].map(() => cachedHeads(shape)),
        capacityTokens,
        { name: 'eagle-3', ...options },
      ),
    features(outputs) {
      if (outputs.taps?.length !== taps.length) {
        throw new ArgumentError(
          `${what}: expected taps of ${taps.length} layers, got ${outputs.taps?.length ?? 'none'}.`,
        );
      }
      return concat(outputs.taps, 1);
    },
    forward(rows, features, state) {
      const embedded = table ? embedding(table, rows.inputs) : target.embed(rows.inputs);
      // As upstream: rows as wide as the head itself were recycled, whatever F is.
      const joined = features.shape[1] === D ? features : fc(before(features));
      const normed = hiddenNorm(joined);
      const x = concat([inputLayernorm(embedded), normed], 1);
      const residual = normedResidual ? normed : joined;
      const cache = state as AttentionState;
      const h = residual.add(attend(x, rows, cache));
      const first = h.add(mlp(attentionNorm(h)));
      const hidden = further.reduce((y, block) => block(y, rows, cache), first);
      return { hidden, recycled: recyclesNormed ? norm(hidden) : hidden };
    },
    logits: (hidden) => lmHead(norm(hidden)),
    ...vocabulary,
  };
}

/** The layers whose inputs are features: named by the configuration, or 2, L / 2 and L - 3. */
function featureLayers(fields: ConfigFields, { layerCount: L }: HeadTarget, what: string): readonly number[] {
  const name = 'eagle_aux_hidden_state_layer_ids';
  // SpecForge counts the outputs of layers: that of layer i enters layer i + 1.
  const outputs = fields
    .inside('eagle_config')
    ?.integers(name, { min: 0 })
    ?.map((layer) => layer + 1);
  const given = fields.integers(name, { min: 0 }) ?? outputs;
  const taps = given ?? [...new Set([2, L >> 1, L - 3])].sort((a, b) => a - b);
  const absent = taps.find((layer) => layer < 0 || layer > L);
  if (absent === undefined && taps.length > 0) return taps;
  throw new MismatchedPartsError(
    `${what}: takes features of layers ${taps.join(', ')}, and this target has ${L} layers. Load the head that belongs to it.`,
  );
}

function ownEmbedding(
  w: Weights,
  {
    checkpoint,
    what,
    shape,
    Dt,
  }: { checkpoint: Checkpoint; what: string; shape: readonly [number, number]; Dt: number },
) {
  const [V, D] = shape;
  if (!w.has('embed_tokens')) {
    expectFit(what, 'hidden size', [D, Dt]);
    return undefined;
  }
  expectFit(what, 'a vocabulary of', [storedShape(checkpoint, 'embed_tokens.weight')?.[0] ?? V, V]);
  return w.at('embed_tokens').tensor('weight', [V, D]);
}

/** Norms before `fc`: one over all features, or one for each layer's. */
function featureNorm(
  w: Weights,
  fields: ConfigFields,
  { F, Dt, epsilon }: { F: number; Dt: number; epsilon: number },
): Layer {
  if (fields.boolean('norm_before_fc', false)) return rmsNorm(w.at('input_norm'), F, epsilon);
  const perLayer = fields.has('fc_norm') && fields.boolean('fc_norm');
  if (!perLayer) return (x) => x;
  if (F % Dt !== 0)
    throw new HeadConfigError(`${fields.file}: fc_norm needs features of whole layers, got ${F} of ${Dt}.`);
  const norms = Array.from({ length: F / Dt }, (_, i) => rmsNorm(w.at('fc_norm').at(i), Dt, epsilon));
  return (x: Tensor) =>
    concat(
      norms.map((norm, i) => norm(slice(x, 1, [i * Dt, (i + 1) * Dt]))),
      1,
    );
}
