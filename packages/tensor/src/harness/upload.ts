import { ArgumentError } from '../errors.ts';
import type { Weight } from '../graph/weight.ts';
import { rowWords } from '../graph/weight.ts';
import type { WeightStore } from '../run/weight-store.ts';

/** Uploads f32 weights, as `upload` of a held body. Weights that no operation placed are left out. */
export function uploadFloats(weights: ReadonlyMap<Weight, ArrayLike<number>>): (store: WeightStore) => Promise<void> {
  return async (store) => {
    for (const [weight, values] of weights) {
      if (weight.format !== 'f32') {
        throw new ArgumentError(`uploadFloats: expected weights in f32, got "${weight.name}" in ${weight.format}.`);
      }
      if (!store.weights.includes(weight)) continue;
      for (const { codes, rowBegin, rowEnd, rowOffset } of store.parts(weight)) {
        const words = rowWords('f32', weight.width);
        const data = Float32Array.from(Array.from(values).slice(rowBegin * words, rowEnd * words));
        if (codes.source.kind !== 'weight') continue;
        store.device.gpu.queue.writeBuffer(store.resolve(codes.source.placement, 'codes'), rowOffset * words * 4, data);
      }
    }
  };
}
