/** The module of Qwen3-Next and Qwen3.5: `mtp.*`, a layer of gated full attention whose norms are stored less one. */
import type { Checkpoint, ConfigFields, Weights } from '@forerun/checkpoints';
import { rmsNorm, routedExperts, softmaxRouting } from '@forerun/layers';
import type { FeatureHead } from '../feature-head.ts';
import { decoderBlock } from '../layers/decoder-block.ts';
import { groupedAttention } from '../layers/grouped-attention.ts';
import { cachedHeads, layerShape } from '../layers/layer-shape.ts';
import type { HeadTarget } from '../target.ts';
import { predictionHead, type PredictionOptions } from './prediction-layer.ts';
import { gatedMlp, linear } from '../layers/stored-biases.ts';

/** The prediction layers of a Qwen checkpoint; their mlp is a mixture of experts where the checkpoint has experts. */
export function qwenHead(
  checkpoint: Checkpoint,
  target: HeadTarget,
  { fields, options }: { readonly fields: ConfigFields; readonly options: PredictionOptions },
): FeatureHead {
  const shape = layerShape(fields);
  const { hiddenSize: D } = shape;
  const norm = (at: Weights) => rmsNorm(at, D, shape.rmsNormEps, { offset: 1 });
  const w = checkpoint.weights().at('mtp');
  const count = fields.integer('mtp_num_hidden_layers', { min: 1, max: 64 }, 1);
  const embeddingNorm = norm(w.at('pre_fc_norm_embedding'));
  const hiddenNorm = norm(w.at('pre_fc_norm_hidden'));
  const project = linear(w.at('fc'), [D, 2 * D]);
  const last = norm(w.at('norm'));
  const layers = Array.from({ length: count }, (_, i) => {
    const layer = w.at('layers').at(i);
    const mlp = layer.at('mlp');
    return {
      embeddingNorm,
      hiddenNorm,
      project,
      block: decoderBlock({
        inputNorm: norm(layer.at('input_layernorm')),
        attention: groupedAttention(layer.at('self_attn'), shape, { layer: i, normOffset: 1, gated: true }),
        attentionNorm: norm(layer.at('post_attention_layernorm')),
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
