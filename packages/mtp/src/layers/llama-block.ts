import type { Weights } from '@forerun/checkpoints';
import { decoderBlock } from './decoder-block.ts';
import { gatedMlp } from './gated-mlp.ts';
import { groupedAttention } from './grouped-attention.ts';
import type { LayerShape } from './layer-shape.ts';
import { rmsNorm, type SequenceLayer } from './layer.ts';

/** A layer of llama by its published names: `[M, D]` to `[M, D]`. The norm before attention is left out where the checkpoint has none. */
export function llamaBlock(w: Weights, shape: LayerShape): SequenceLayer {
  const { hiddenSize: D, rmsNormEps: epsilon } = shape;
  return decoderBlock({
    ...(w.has('input_layernorm') ? { inputNorm: rmsNorm(w.at('input_layernorm'), D, { epsilon }) } : {}),
    attention: groupedAttention(w.at('self_attn'), shape),
    attentionNorm: rmsNorm(w.at('post_attention_layernorm'), D, { epsilon }),
    mlp: gatedMlp(w.at('mlp'), [D, shape.intermediateSize], shape.hiddenAct),
  });
}

/** The layers 1, 2, … of a list of layers, as many as the checkpoint has. */
export function furtherBlocks(layers: Weights, shape: LayerShape): SequenceLayer[] {
  const blocks: SequenceLayer[] = [];
  for (let layer = 1; layers.has(layer); layer++) blocks.push(llamaBlock(layers.at(layer), shape));
  return blocks;
}
