import { type Attention, type AttentionLayer, type AttentionState, softmaxAttention } from '@forerun/attention';
import type { Layer, SequenceLayer } from '@forerun/layers';
import { ArgumentError, concat, type Tensor, type Weight } from '@forerun/tensor';
import { wholeVocabulary } from '../draft-vocabulary.ts';
import type { FeatureHead } from '../feature-head.ts';
import type { HeadTarget } from '../target.ts';

/** How a multi-token prediction module is used, where implementations differ. */
export interface PredictionOptions {
  /** What rows behind the last feature go on from: what comes out of the module's last norm (as SGLang and transformers), or what goes in (as vLLM for DeepSeek). */
  readonly recycle?: 'after-norm' | 'before-norm';
  /** Whether the embedding of the row at position 0 counts as zeros, as in vLLM. */
  readonly zeroedFirst?: boolean;
  /** Makes what its layers keep of a conversation; exact softmax attention by default. */
  readonly attention?: Attention;
}

/** One prediction layer: what joins a feature and an embedding, a block, and a norm. */
export interface PredictionLayer {
  readonly embeddingNorm: Layer;
  readonly hiddenNorm: Layer;
  /** `[M, 2 D]` to `[M, D]`. */
  readonly project: Layer;
  readonly block: SequenceLayer<AttentionState>;
  readonly norm: Layer;
  readonly cache: AttentionLayer;
}

/** What a family has besides its layers. */
export interface PredictionParts {
  readonly layers: readonly PredictionLayer[];
  /** What stands first before `project`. */
  readonly first: 'embedding' | 'hidden';
  readonly weights: readonly Weight[];
  readonly maxPositions: number;
}

/**
 * `y = block(project([norm(e(x_{t+1})); norm(h_t)]))`, logits by the target's head from `norm(y)`: the sequential modules of DeepSeek-V3,
 * GLM, Qwen and MiMo. Each layer has a cache of its own.
 */
export function predictionHead(parts: PredictionParts, target: HeadTarget, options: PredictionOptions): FeatureHead {
  const { layers, first } = parts;
  const { recycle = 'after-norm', zeroedFirst = false, attention = softmaxAttention } = options;
  const { size, ...vocabulary } = wholeVocabulary(target.vocabSize);
  return {
    name: 'mtp',
    needs: { hidden: 'after-norm' },
    weights: parts.weights,
    hiddenSize: target.hiddenSize,
    vocabSize: size,
    layerCount: layers.length,
    maxPositions: parts.maxPositions,
    state: (capacityTokens, stateOptions) =>
      attention(
        layers.map(({ cache }) => cache),
        capacityTokens,
        { name: 'mtp', ...stateOptions },
      ),
    features({ hidden }) {
      if (!hidden) throw new ArgumentError('mtp: expected hidden states after the final norm, got none.');
      return hidden;
    },
    forward(rows, features, state, layer = 0) {
      const used = layers[layer];
      if (!used) throw new ArgumentError(`mtp: expected a layer from 0 to ${layers.length - 1}, got ${layer}.`);
      const embedded = target.embed(rows.inputs);
      const embedding = used.embeddingNorm(zeroedFirst ? withoutFirst(embedded, rows.positions) : embedded);
      const hidden = used.hiddenNorm(features);
      const x = used.project(concat(first === 'embedding' ? [embedding, hidden] : [hidden, embedding], 1));
      const y = used.block(x, rows, state as AttentionState);
      const normed = used.norm(y);
      return { hidden: normed, recycled: recycle === 'after-norm' ? normed : y };
    },
    logits: target.head,
    ...vocabulary,
  };
}

/** Zeros for the row at position 0. */
function withoutFirst(embedded: Tensor, positions: Tensor): Tensor {
  return embedded.mul(positions.min(1).to('f32').reshape([-1, 1]));
}
