/** The modules of DeepSeek-V3 (arXiv:2412.19437, section 2.2) and GLM-4.5: layers behind the last of the model, `model.layers.{N}`. */
import type { Checkpoint, ConfigFields, Weights } from '@forerun/checkpoints';
import {
  activations,
  groupRouting,
  latentAttention,
  latentCache,
  latentShape,
  type Layer,
  rmsNorm,
  routedExperts,
} from '@forerun/layers';
import type { FeatureHead } from '../feature-head.ts';
import { decoderBlock } from '../layers/decoder-block.ts';
import { groupedAttention } from '../layers/grouped-attention.ts';
import { cachedHeads, layerShape } from '../layers/layer-shape.ts';
import type { HeadTarget } from '../target.ts';
import { predictionHead, type PredictionLayer, type PredictionOptions } from './prediction-layer.ts';
import { gatedMlp, linear } from '../layers/stored-biases.ts';

/** Copies of the target's embedding and head, which are not read. */
const copies = [/\.embed_tokens\.weight$/, /\.shared_head\.head\.weight$/];

/** The prediction layers of a `deepseek_v3` or `glm4_moe` checkpoint. */
export function deepseekHead(
  checkpoint: Checkpoint,
  target: HeadTarget,
  { fields, options }: { readonly fields: ConfigFields; readonly options: PredictionOptions },
): FeatureHead {
  const begin = fields.integer('num_hidden_layers', { min: 1 });
  const count = fields.integer('num_nextn_predict_layers', { min: 1, max: 64 });
  const views = Array.from({ length: count }, (_, i) =>
    checkpoint
      .weights()
      .at('model')
      .at('layers')
      .at(begin + i),
  );
  const layers = views.map((w, layer) => deepseekLayer(w, fields, layer));
  return predictionHead(
    {
      layers,
      first: 'embedding',
      weights: views.flatMap((w) => w.finish({ ignore: copies })),
      maxPositions: fields.integer('max_position_embeddings', { min: 1 }),
    },
    target,
    options,
  );
}

function deepseekLayer(w: Weights, fields: ConfigFields, layer: number): PredictionLayer {
  const D = fields.integer('hidden_size', { min: 1 });
  const epsilon = fields.number('rms_norm_eps', { min: 0 });
  const { attention, cache } = attentionOf(w.at('self_attn'), fields, layer);
  return {
    embeddingNorm: rmsNorm(w.at('enorm'), D, epsilon),
    hiddenNorm: rmsNorm(w.at('hnorm'), D, epsilon),
    project: linear(w.at('eh_proj'), [D, 2 * D]),
    block: decoderBlock({
      inputNorm: rmsNorm(w.at('input_layernorm'), D, epsilon),
      attention,
      attentionNorm: rmsNorm(w.at('post_attention_layernorm'), D, epsilon),
      mlp: mlpOf(w.at('mlp'), fields),
    }),
    norm: rmsNorm(w.at('shared_head').at('norm'), D, epsilon),
    cache,
  };
}

function attentionOf(w: Weights, fields: ConfigFields, layer: number) {
  if (fields.has('kv_lora_rank')) {
    const latent = latentShape(fields);
    return { attention: latentAttention(w, latent, layer), cache: latentCache(latent) };
  }
  const shape = layerShape(fields);
  return { attention: groupedAttention(w, shape, { layer }), cache: cachedHeads(shape) };
}

/** Experts, or one mlp where the checkpoint has no router. */
function mlpOf(w: Weights, fields: ConfigFields): Layer {
  if (w.has('gate')) return routedExperts(w, groupRouting(fields));
  const D = fields.integer('hidden_size', { min: 1 });
  const F = fields.integer('intermediate_size', { min: 1, max: 2 ** 22 });
  return gatedMlp(w, [D, F], fields.word('hidden_act', activations, 'silu'));
}
