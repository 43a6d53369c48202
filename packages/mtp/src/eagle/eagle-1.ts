/**
 * EAGLE-1, whose weights EAGLE-2 uses: `x = fc([e(x_{t+1}); f_t])` through llama layers, mostly one, the first without a norm before
 * attention, gives f_{t+1}, the target's hidden state after the final norm; the target's head makes logits of it.
 *
 * Source: Li et al. 2024, arXiv:2401.15077; names of the checkpoints of SafeAILab/EAGLE.
 */
import { type Attention, type AttentionState, softmaxAttention } from '@forerun/attention';
import type { Checkpoint } from '@forerun/checkpoints';
import { ArgumentError, concat, embedding } from '@forerun/tensor';
import { headFields } from '../config/head-fields.ts';
import type { FeatureHead } from '../feature-head.ts';
import { cachedHeads, layerShape } from '../layers/layer-shape.ts';
import { furtherBlocks, llamaBlock } from '../layers/llama-block.ts';
import { linear } from '../layers/stored-biases.ts';
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
  const shape = layerShape(headFields(await checkpoint.config()));
  const { hiddenSize: D } = shape;
  expectFit(what, 'hidden size', [D, target.hiddenSize]);
  const V = target.vocabSize;
  expectFit(what, 'a vocabulary of', [storedShape(checkpoint, 'embed_tokens.weight')?.[0] ?? V, V]);
  const w = checkpoint.weights();
  const table = w.has('embed_tokens') ? w.at('embed_tokens').tensor('weight', [V, D]) : undefined;
  const fc = linear(w.at('fc'), [D, 2 * D]);
  const blocks = [llamaBlock(w.at('layers').at(0), shape, 0), ...furtherBlocks(w.at('layers'), shape)];
  const { size, ...vocabulary } = wholeVocabulary(V);
  return {
    name: 'eagle',
    needs: { hidden: 'after-norm' },
    weights: w.finish({ ignore: [/\.rotary_emb\.inv_freq$/] }),
    hiddenSize: D,
    vocabSize: size,
    layerCount: 1,
    maxPositions: shape.maxPositions,
    state: (capacityTokens, options) =>
      attention(
        blocks.map(() => cachedHeads(shape)),
        capacityTokens,
        { name: 'eagle', ...options },
      ),
    features({ hidden }) {
      if (!hidden) throw new ArgumentError(`${what}: expected hidden states after the final norm, got none.`);
      return hidden;
    },
    forward(rows, features, state) {
      const embedded = table ? embedding(table, rows.inputs) : target.embed(rows.inputs);
      const joined = fc(concat([embedded, features], 1));
      const hidden = blocks.reduce((x, block) => block(x, rows, state as AttentionState), joined);
      return { hidden, recycled: hidden };
    },
    logits: target.head,
    ...vocabulary,
  };
}
