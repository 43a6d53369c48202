/** The module of MiMo-7B: `model.mtp_layers.{i}`, a Qwen2 layer, the hidden state before the embedding. */
import type { Checkpoint, ConfigFields } from '@forerun/checkpoints';
import { rmsNorm } from '@forerun/layers';
import type { FeatureHead } from '../feature-head.ts';
import { cachedHeads, layerShape } from '../layers/layer-shape.ts';
import { llamaBlock } from '../layers/llama-block.ts';
import { linear } from '../layers/stored-biases.ts';
import type { HeadTarget } from '../target.ts';
import { predictionHead, type PredictionOptions } from './prediction-layer.ts';

/** The prediction layers of a `mimo` checkpoint. */
export function mimoHead(
  checkpoint: Checkpoint,
  target: HeadTarget,
  { fields, options }: { readonly fields: ConfigFields; readonly options: PredictionOptions },
): FeatureHead {
  const shape = layerShape(fields);
  const { hiddenSize: D, rmsNormEps: epsilon } = shape;
  const w = checkpoint.weights().at('model').at('mtp_layers');
  const count = fields.integer('num_nextn_predict_layers', { min: 1, max: 64 });
  const layers = Array.from({ length: count }, (_, i) => {
    const layer = w.at(i);
    return {
      embeddingNorm: rmsNorm(layer.at('token_layernorm'), D, epsilon),
      hiddenNorm: rmsNorm(layer.at('hidden_layernorm'), D, epsilon),
      project: linear(layer.at('input_proj'), [D, 2 * D]),
      block: llamaBlock(layer, shape, i),
      norm: rmsNorm(layer.at('final_layernorm'), D, epsilon),
      cache: cachedHeads(shape),
    };
  });
  const weights = w.finish();
  return predictionHead({ layers, first: 'hidden', weights, maxPositions: shape.maxPositions }, target, options);
}
