import type { NdArray } from '../../graph/operation.ts';
import { unpackHalf } from '../append/half.ts';

/** What a reference attention needs beyond its arrays. */
export interface AttentionReferenceOptions {
  readonly scale: number;
  readonly window?: number;
  readonly softcap?: number;
  /** Positions that the cache serves where it is a ring. */
  readonly positions?: number;
}

/** The depth of a row without a key. */
export const seesNothing = 0xffff_ffff;

const element = (cache: NdArray) =>
  cache.dtype === 'u32' ? (i: number) => unpackHalf(cache.data, i) : (i: number) => cache.data[i]!;

/**
 * Attention in float64: `y = sum_j softmax_j(score_j) v_j` over the visible keys, one row and head at a time.
 */
export function attentionReference(
  q: NdArray,
  cache: { readonly keys: NdArray; readonly values: NdArray },
  rows: {
    readonly depths: NdArray;
    readonly count: NdArray;
    readonly length: NdArray;
    readonly path?: NdArray | undefined;
    readonly begins?: NdArray | undefined;
    readonly sinks?: NdArray | undefined;
  },
  { scale, window = Infinity, softcap, positions }: AttentionReferenceOptions,
): NdArray {
  const [rowTotal, heads, keyDim] = q.shape as [number, number, number];
  const kvHeads = cache.keys.shape[1]!;
  const valueDim = cache.values.shape[2]! * (cache.values.dtype === 'u32' ? 2 : 1);
  const [key, value] = [element(cache.keys), element(cache.values)];
  const data = new Float64Array(rowTotal * heads * valueDim);
  const length = rows.length.data[0]!;
  const maxDepth = rows.path?.shape[1] ?? 0;
  for (let row = 0; row < Math.min(rowTotal, rows.count.data[0]!); row++) {
    const last = rows.depths.data[row]! === seesNothing ? -1 : rows.depths.data[row]!;
    const slots: number[] = [];
    for (let j = Math.max(rows.begins?.data[row] ?? 0, last - window + 1); j <= last; j++) {
      const slot = rows.path && j >= length ? rows.path.data[row * maxDepth + j - length]! : j;
      slots.push(positions === undefined ? slot : slot % cache.keys.shape[0]!);
    }
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads));
      const scores = slots.map((slot) => {
        let dot = 0;
        for (let i = 0; i < keyDim; i++)
          dot += q.data[(row * heads + head) * keyDim + i]! * key((slot * kvHeads + kvHead) * keyDim + i);
        return softcap === undefined ? dot * scale : softcap * Math.tanh((dot * scale) / softcap);
      });
      const sink = rows.sinks?.data[head];
      const top = Math.max(...scores, sink ?? -Infinity);
      const weights = scores.map((score) => Math.exp(score - top));
      const total = weights.reduce((sum, weight) => sum + weight, sink === undefined ? 0 : Math.exp(sink - top));
      slots.forEach((slot, j) => {
        for (let i = 0; i < valueDim; i++) {
          data[(row * heads + head) * valueDim + i]! +=
            (weights[j]! / total) * value((slot * kvHeads + kvHead) * valueDim + i);
        }
      });
    }
  }
  return { shape: [rowTotal, heads, valueDim], dtype: 'f32', data };
}
