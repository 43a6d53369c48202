import type { AttentionState } from '@forerun/attention';
import type { Layer, SequenceLayer } from '@forerun/layers';

/** Parts of a pre-norm block; the first has none before attention in EAGLE-1. */
export interface BlockParts {
  readonly inputNorm?: Layer;
  readonly attention: SequenceLayer<AttentionState>;
  readonly attentionNorm: Layer;
  readonly mlp: Layer;
}

/** `h = x + attention(inputNorm(x)); y = h + mlp(attentionNorm(h))`: `[M, D]` to `[M, D]`. */
export function decoderBlock({ inputNorm, attention, attentionNorm, mlp }: BlockParts): SequenceLayer<AttentionState> {
  return (x, rows, state) => {
    const h = x.add(attention(inputNorm ? inputNorm(x) : x, rows, state));
    return h.add(mlp(attentionNorm(h)));
  };
}
