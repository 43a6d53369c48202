import type { DecoderStateOptions, Rows } from '@forerun/contracts';
import type { KvCache, State as StateType, Tensor } from '@forerun/tensor';
import { appendKv, ArgumentError, attention, moveRows, State } from '@forerun/tensor';
import type { AttentionHeads, AttentionLayer, AttentionState } from '../attention.ts';

/** Most rows of a verify pass, of which all but one may be rejected. */
const widestRows = 64;

/** A cache of keys and values as states: f32, or f16 packed in pairs; a ring where `slots` are fewer than the tokens. */
function declareCache(
  { kvHeads, headDim, valueDim = headDim }: AttentionLayer,
  { name, capacityTokens, slots, packed }: { name: string; capacityTokens: number; slots: number; packed: boolean },
): KvCache {
  const state = (part: string, width: number): StateType => {
    if (packed && width % 2 !== 0) {
      throw new ArgumentError(
        `${name}.${part}: an f16 cache packs elements in pairs, so heads must have an even width, got ${width}. Use cache: 'f32'.`,
      );
    }
    return new State({
      name: `${name}.${part}`,
      shape: [slots, kvHeads, packed ? width / 2 : width],
      dtype: packed ? 'u32' : 'f32',
    });
  };
  const states = { keys: state('keys', headDim), values: state('values', valueDim) };
  return slots < capacityTokens ? { ...states, positions: capacityTokens } : states;
}

/**
 * Exact softmax attention over cached keys and values: causal, with the layer's window, softcap and sinks. A layer without a window keeps every
 * position, so that any shorter length can be restored. One with a window keeps a ring of window - 1 + max(rollbackTokens + 64,
 * passTokens) positions, where that is less: bits are the same, and lengths can be restored by as much as it reaches back. Rejected rows of
 * a tree leave nothing behind.
 *
 * @param layers - From first to last.
 * @param capacityTokens - Most tokens; the rows of a tree take one each.
 * @param options - `cache: 'f16'` halves the memory and the reads; `name` begins the names of the states.
 * @throws ArgumentError for a capacity that is not a positive integer, or f16 heads of odd width.
 */
export function softmaxAttention(
  layers: readonly AttentionLayer[],
  capacityTokens: number,
  { rollbackTokens, passTokens = 512, cache = 'f32', name = 'attention' }: DecoderStateOptions,
): AttentionState {
  if (!Number.isSafeInteger(capacityTokens) || capacityTokens < 1) {
    throw new ArgumentError(`${name}: expected a capacity of at least 1 token, got ${capacityTokens}.`);
  }
  // Positions behind a window that a ring keeps: those of one pass, and those that may be taken back.
  const retained = Math.max(rollbackTokens + widestRows, passTokens);
  const caches = layers.map((layer, index) => {
    const slots = Math.min(capacityTokens, (layer.window ?? Infinity) - 1 + retained);
    return declareCache(layer, { name: `${name}.${index}`, capacityTokens, slots, packed: cache === 'f16' });
  });
  const states = caches.flatMap(({ keys, values }) => [keys, values]);
  const rings = caches.filter(({ positions }) => positions !== undefined);
  return {
    states,
    capacityTokens,
    attend(index, heads, rows) {
      const count = rows.slots.shape[0]!;
      if (rings.length > 0 && count > retained) {
        throw new ArgumentError(
          `${name}: expected passes of at most ${retained} rows, which its rings of windows hold, got ${count}. Make the state with passTokens: ${count}.`,
        );
      }
      return attend(layers[index], caches[index], { name: `${name}.${index}`, heads, rows });
    },
    // The loop's length says which slots count; later rows overwrite the rest.
    truncate: () => undefined,
    reachable(length, { restored, written }) {
      const shortest = rings.length > 0 ? Math.max(restored, written - retained) : 0;
      return length >= shortest ? Math.min(length, capacityTokens) : 0;
    },
    commit({ path, count, length, tree }) {
      if (!tree) return;
      for (const [slots, group] of bySlots(caches)) {
        moveRows(group, { path, count, length }, slots < capacityTokens ? { ring: slots } : {});
      }
    },
  };
}

/** States by the slots of their caches. */
function bySlots(caches: readonly KvCache[]): ReadonlyMap<number, readonly StateType[]> {
  const groups = new Map<number, StateType[]>();
  for (const { keys, values } of caches) {
    const slots = keys.shape[0]!;
    groups.set(slots, [...(groups.get(slots) ?? []), keys, values]);
  }
  return groups;
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
