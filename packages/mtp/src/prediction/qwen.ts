/** The module of Qwen3-Next and Qwen3.5: `mtp.*`, a layer of gated full attention whose norms are stored less one. */
import type { Checkpoint } from '@forerun/checkpoints';
import type { HeadFields } from '../config/head-fields.ts';
import type { FeatureHead } from '../feature-head.ts';
import { decoderBlock } from '../layers/decoder-block.ts';
import { gatedMlp } from '../layers/gated-mlp.ts';
import { groupedAttention } from '../layers/grouped-attention.ts';
import { cachedHeads, layerShape } from '../layers/layer-shape.ts';
import { linear, rmsNorm } from '../layers/layer.ts';
import { routedExperts, softmaxRouting } from '../layers/routed-experts.ts';
import type { HeadTarget } from '../target.ts';
import { predictionHead, type PredictionOptions } from './prediction-layer.ts';

/** The prediction layers of a Qwen checkpoint; their mlp is a mixture of experts where the checkpoint has experts. */
export function qwenHead(
  checkpoint: Checkpoint,
  target: HeadTarget,
  { fields, options }: { readonly fields: HeadFields; readonly options: PredictionOptions },
): FeatureHead {
  const shape = layerShape(fields);
  const { hiddenSize: D } = shape;
  const norm = { epsilon: shape.rmsNormEps, offset: 1 } as const;
  const w = checkpoint.weights().at('mtp');
  const count = fields.integer('mtp_num_hidden_layers', { min: 1, max: 64 }, 1);
  const embeddingNorm = rmsNorm(w.at('pre_fc_norm_embedding'), D, norm);
  const hiddenNorm = rmsNorm(w.at('pre_fc_norm_hidden'), D, norm);
  const project = linear(w.at('fc'), [D, 2 * D]);
  const last = rmsNorm(w.at('norm'), D, norm);
  const layers = Array.from({ length: count }, (_, i) => {
    const layer = w.at('layers').at(i);
    const mlp = layer.at('mlp');
    return {
      embeddingNorm,
      hiddenNorm,
      project,
      block: decoderBlock({
        inputNorm: rmsNorm(layer.at('input_layernorm'), D, norm),
        attention: groupedAttention(layer.at('self_attn'), shape, { normOffset: 1, gated: true }),
        attentionNorm: rmsNorm(layer.at('post_attention_layernorm'), D, norm),
        mlp: mlp.has('experts')
          ? routedExperts(mlp, softmaxRouting(fields))
          : gatedMlp(mlp, [D, shape.intermediateSize], shape.hiddenAct),
      }),
      norm: last,
      cache: cachedHeads(shape),
    };
  });
  const weights = w.finish();
  return predictionHead({ layers, first: 'embedding', weights, maxPositions: shape.maxPositions }, target, options);
}
