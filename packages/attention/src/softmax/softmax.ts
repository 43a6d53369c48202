import type { DecoderStateOptions, Rows } from '@forerun/contracts';
import type { KvCache, State as StateType, Tensor } from '@forerun/tensor';
import { appendKv, ArgumentError, attention, moveRows, State } from '@forerun/tensor';
import type { AttentionHeads, AttentionLayer, AttentionState } from '../attention.ts';

/** A cache of keys and values as states: f32, or f16 packed in pairs. */
function declareCache(
  { kvHeads, headDim, valueDim = headDim }: AttentionLayer,
  { name, capacityTokens, packed }: { name: string; capacityTokens: number; packed: boolean },
): KvCache {
  const state = (part: string, width: number): StateType => {
    if (packed && width % 2 !== 0) {
      throw new ArgumentError(
        `${name}.${part}: an f16 cache packs elements in pairs, so heads must have an even width, got ${width}. Use cache: 'f32'.`,
      );
    }
    return new State({
      name: `${name}.${part}`,
      shape: [capacityTokens, kvHeads, packed ? width / 2 : width],
      dtype: packed ? 'u32' : 'f32',
    });
  };
  return { keys: state('keys', headDim), values: state('values', valueDim) };
}

/**
 * Exact softmax attention over a cache of all keys and values: causal, with the layer's window, softcap and sinks. Every position stays
 * in the cache, windows included, so any shorter length can be restored and a rejected tree leaves nothing behind.
 *
 * @param layers - From first to last.
 * @param capacityTokens - Slots of each layer's cache; the rows of a tree take one each.
 * @param options - `cache: 'f16'` halves the memory and the reads; `name` begins the names of the states.
 * @throws ArgumentError for a capacity that is not a positive integer, or f16 heads of odd width.
 */
export function softmaxAttention(
  layers: readonly AttentionLayer[],
  capacityTokens: number,
  { cache = 'f32', name = 'attention' }: DecoderStateOptions,
): AttentionState {
  if (!Number.isSafeInteger(capacityTokens) || capacityTokens < 1) {
    throw new ArgumentError(`${name}: expected a capacity of at least 1 token, got ${capacityTokens}.`);
  }
  const caches = layers.map((layer, index) =>
    declareCache(layer, { name: `${name}.${index}`, capacityTokens, packed: cache === 'f16' }),
  );
  const states = caches.flatMap(({ keys, values }) => [keys, values]);
  return {
    states,
    capacityTokens,
    attend: (index, heads, rows) => attend(layers[index], caches[index], { name: `${name}.${index}`, heads, rows }),
    // The loop's length says which slots count; later rows overwrite the rest.
    truncate: () => undefined,
    reachable: (length) => Math.min(length, capacityTokens),
    commit({ path, count, length, tree }) {
      if (tree) moveRows(states, { path, count, length });
    },
  };
}

function attend(
  layer: AttentionLayer | undefined,
  cache: KvCache | undefined,
  { name, heads: { q, k, v }, rows }: { name: string; heads: AttentionHeads; rows: Rows },
): Tensor {
  if (!layer || !cache) throw new ArgumentError(`${name}: there is no such layer in this state.`);
  appendKv(cache, k, v, rows);
  const { headDim, scale = headDim ** -0.5, window, softcap, sinks } = layer;
  return attention(q, cache, rows, {
    scale,
    ...(window === undefined ? {} : { window }),
    ...(softcap === undefined ? {} : { softcap }),
    ...(sinks === undefined ? {} : { sinks }),
  });
}
