import type { AttentionState } from '@forerun/attention';
import type { Weights } from '@forerun/checkpoints';
import { rmsNorm, type SequenceLayer } from '@forerun/layers';
import { decoderBlock } from './decoder-block.ts';
import { groupedAttention } from './grouped-attention.ts';
import type { LayerShape } from './layer-shape.ts';
import { gatedMlp } from './stored-biases.ts';

/**
 * A layer of llama by its published names: `[M, D]` to `[M, D]`. The norm before attention is left out where the checkpoint has none.
 *
 * @param layer - Which layer of the state is its own.
 */
export function llamaBlock(w: Weights, shape: LayerShape, layer: number): SequenceLayer<AttentionState> {
  const { hiddenSize: D, rmsNormEps: epsilon } = shape;
  return decoderBlock({
    ...(w.has('input_layernorm') ? { inputNorm: rmsNorm(w.at('input_layernorm'), D, epsilon) } : {}),
    attention: groupedAttention(w.at('self_attn'), shape, { layer }),
    attentionNorm: rmsNorm(w.at('post_attention_layernorm'), D, epsilon),
    mlp: gatedMlp(w.at('mlp'), [D, shape.intermediateSize], shape.hiddenAct),
  });
}

/** The layers 1, 2, … of a list of layers, as many as the checkpoint has. */
export function furtherBlocks(layers: Weights, shape: LayerShape): SequenceLayer<AttentionState>[] {
  const blocks: SequenceLayer<AttentionState>[] = [];
  for (let layer = 1; layers.has(layer); layer++) blocks.push(llamaBlock(layers.at(layer), shape, layer));
  return blocks;
}
