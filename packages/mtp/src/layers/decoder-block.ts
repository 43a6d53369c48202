import type { RowLayer, SequenceLayer } from './layer.ts';

/** Parts of a pre-norm block; the first has none before attention in EAGLE-1. */
export interface BlockParts {
  readonly inputNorm?: RowLayer;
  readonly attention: SequenceLayer;
  readonly attentionNorm: RowLayer;
  readonly mlp: RowLayer;
}

/** `h = x + attention(inputNorm(x)); y = h + mlp(attentionNorm(h))`: `[M, D]` to `[M, D]`. */
export function decoderBlock({ inputNorm, attention, attentionNorm, mlp }: BlockParts): SequenceLayer {
  return (x, rows, cache) => {
    const h = x.add(attention(inputNorm ? inputNorm(x) : x, rows, cache));
    return h.add(mlp(attentionNorm(h)));
  };
}
