/**
 * EAGLE-1, whose weights EAGLE-2 uses: `x = fc([e(x_{t+1}); f_t])` through one llama layer without a norm before attention gives
 * f_{t+1}, the target's hidden state after the final norm; the target's head makes logits of it.
 *
 * Source: Li et al. 2024, arXiv:2401.15077; names of the checkpoints of SafeAILab/EAGLE.
 */
import { type Attention, type AttentionState, softmaxAttention } from '@forerun/attention';
import type { Checkpoint } from '@forerun/checkpoints';
import { ArgumentError, concat, embedding } from '@forerun/tensor';
import { HeadFields } from '../config/head-fields.ts';
import type { FeatureHead } from '../feature-head.ts';
import { decoderBlock } from '../layers/decoder-block.ts';
import { gatedMlp } from '../layers/gated-mlp.ts';
import { groupedAttention } from '../layers/grouped-attention.ts';
import { cachedHeads, layerShape } from '../layers/layer-shape.ts';
import { linear, rmsNorm } from '../layers/layer.ts';
import { expectFit, type HeadTarget, storedShape } from '../target.ts';
import { wholeVocabulary } from '../draft-vocabulary.ts';

/**
 * An EAGLE-1 or EAGLE-2 head.
 *
 * @param attention - Makes what its layer keeps of a conversation; exact softmax attention by default.
 * @throws MismatchedPartsError for another hidden size or vocabulary than the target's; HeadConfigError, RopeConfigError;
 *   WeightNameError for names that are missing or unknown.
 */
export async function eagle1Head(
  checkpoint: Checkpoint,
  target: HeadTarget,
  attention: Attention = softmaxAttention,
): Promise<FeatureHead> {
  const what = `EAGLE head of ${checkpoint.source.describe()}`;
  const shape = layerShape(new HeadFields(await checkpoint.config()));
  const { hiddenSize: D, rmsNormEps: epsilon } = shape;
  expectFit(what, 'hidden size', [D, target.hiddenSize]);
  const V = target.vocabSize;
  expectFit(what, 'a vocabulary of', [storedShape(checkpoint, 'embed_tokens.weight')?.[0] ?? V, V]);
  const w = checkpoint.weights();
  const table = w.has('embed_tokens') ? w.at('embed_tokens').tensor('weight', [V, D]) : undefined;
  const fc = linear(w.at('fc'), [D, 2 * D]);
  const layer = w.at('layers').at(0);
  const block = decoderBlock({
    ...(layer.has('input_layernorm') ? { inputNorm: rmsNorm(layer.at('input_layernorm'), D, { epsilon }) } : {}),
    attention: groupedAttention(layer.at('self_attn'), shape),
    attentionNorm: rmsNorm(layer.at('post_attention_layernorm'), D, { epsilon }),
    mlp: gatedMlp(layer.at('mlp'), [D, shape.intermediateSize], shape.hiddenAct),
  });
  const { size, ...vocabulary } = wholeVocabulary(V);
  return {
    name: 'eagle',
    needs: { hidden: 'after-norm' },
    weights: w.finish({ ignore: [/\.rotary_emb\.inv_freq$/] }),
    hiddenSize: D,
    vocabSize: size,
    layerCount: 1,
    maxPositions: shape.maxPositions,
    state: (capacityTokens, options) => attention([cachedHeads(shape)], capacityTokens, { name: 'eagle', ...options }),
    features({ hidden }) {
      if (!hidden) throw new ArgumentError(`${what}: expected hidden states after the final norm, got none.`);
      return hidden;
    },
    forward(rows, features, state) {
      const embedded = table ? embedding(table, rows.inputs) : target.embed(rows.inputs);
      const hidden = block(fc(concat([embedded, features], 1)), rows, { state: state as AttentionState, layer: 0 });
      return { hidden, recycled: hidden };
    },
    logits: target.head,
    ...vocabulary,
  };
}
