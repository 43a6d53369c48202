import { DTypeError, ShapeError } from '../../errors.ts';
import { elementCount, shapeText } from '../../graph/dtype.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { NdArray } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { appendKernel, appendPackedKernel } from './append.wgsl.ts';
import type { KvCache } from './cache.ts';
import { cacheLayout, slotWords } from './cache.ts';
import { packHalves } from './half.ts';

/** Writes the rows `0 ..< count` of `source` to their slots of a cache, in float64 or packed. */
export function appendReference(
  source: Float64Array,
  { cache, slots, count }: { cache: NdArray; slots: Float64Array; count: number },
): void {
  const words = elementCount(cache.shape.slice(1));
  for (let row = 0; row < Math.min(count, slots.length); row++) {
    if (slots[row]! >= cache.shape[0]!) continue;
    for (let word = 0; word < words; word++) {
      const value =
        cache.dtype === 'u32'
          ? packHalves(source[2 * (row * words + word)]!, source[2 * (row * words + word) + 1]!)
          : source[row * words + word]!;
      cache.data[slots[row]! * words + word] = value;
    }
  }
}

/** Writes rows into the cache. Operands: k, v, slots, count, keys, values. */
export const appendOperation = defineOperation({
  name: 'append',
  infer: () => [],
  writes: [4, 5],
  reference([k, v, slots, count, keys, values]) {
    appendReference(k!.data, { cache: keys!, slots: slots!.data, count: count!.data[0]! });
    appendReference(v!.data, { cache: values!, slots: slots!.data, count: count!.data[0]! });
    return [];
  },
  lower(lowering, node) {
    const [k, v, slots, count, keys, values] = node.operands as [Tensor, Tensor, Tensor, Tensor, State, State];
    const rows = slots.shape[0]!;
    const [keyWords, valueWords] = [slotWords(keys), slotWords(values)];
    const kernel = keys.dtype === 'u32' ? appendPackedKernel : appendKernel;
    lowering.dispatch(kernel, {
      constants: { keyWords, valueWords },
      uniforms: { rows, capacity: keys.shape[0]! },
      bindings: {
        k: lowering.tensor(k),
        v: lowering.tensor(v),
        slots: lowering.tensor(slots),
        count: lowering.tensor(count),
        keys: lowering.state(keys),
        values: lowering.state(values),
      },
      workgroups: grid(Math.ceil((rows * Math.max(keyWords, valueWords)) / 64)),
      bytes: 4 * (elementCount(k.shape) + elementCount(v.shape) + rows * (keyWords + valueWords)),
    });
  },
});

/** Layers share their rows, so the slots in a ring are worked out once for all layers with rings of one size. */
const slotsInRings = new WeakMap<Tensor, Map<string, Tensor>>();

/** Slots in a ring of `capacity` slots for `positions` positions; past the last position there is none. */
function ringSlots(slots: Tensor, capacity: number, positions: number): Tensor {
  const known = slotsInRings.get(slots) ?? new Map<string, Tensor>();
  slotsInRings.set(slots, known);
  const key = `${capacity} ${positions}`;
  const made =
    known.get(key) ?? slots.less(positions).select(slots.sub(slots.div(capacity).mul(capacity)), 0xffff_ffff);
  known.set(key, made);
  return made;
}

/**
 * Writes rows of keys and values to their slots of a cache; in a packed cache they are rounded to f16 (ties to even, saturating).
 * Rows from `count` on and slots past the capacity, or the positions of a ring, write nothing. The rows of one call must be no more than a
 * ring has slots.
 *
 * @param cache - Keys and values of one layer.
 * @param k - `[M, K, E]` f32.
 * @param v - `[M, K, Ev]` f32.
 * @param rows - `slots`: `[M]` u32; `count`: `[1]` u32 rows in use.
 * @throws {@link ShapeError} or {@link DTypeError} if they do not fit the cache.
 */
export function appendKv(
  cache: KvCache,
  k: Tensor,
  v: Tensor,
  rows: { readonly slots: Tensor; readonly count: Tensor },
): void {
  const { capacity, kvHeads, keyDim, valueDim } = cacheLayout(cache);
  const count = rows.slots.shape[0]!;
  for (const [name, tensor, width] of [
    ['k', k, keyDim],
    ['v', v, valueDim],
  ] as const) {
    if (tensor.dtype !== 'f32') throw new DTypeError(`appendKv: expected ${name} as f32, got ${tensor.dtype}.`);
    if (shapeText(tensor.shape) !== shapeText([count, kvHeads, width])) {
      throw new ShapeError(
        `appendKv: expected ${name} as ${shapeText([count, kvHeads, width])} for cache "${cache.keys.name}", got ${shapeText(tensor.shape)}.`,
      );
    }
  }
  if (rows.slots.dtype !== 'u32' || rows.count.dtype !== 'u32') {
    throw new DTypeError(`appendKv: expected slots and count as u32, got ${rows.slots.dtype} and ${rows.count.dtype}.`);
  }
  if (cache.positions !== undefined && count > capacity) {
    throw new ShapeError(
      `appendKv: expected at most ${capacity} rows, the slots of ring "${cache.keys.name}", got ${count}; append them in parts.`,
    );
  }
  const slots = cache.positions === undefined ? rows.slots : ringSlots(rows.slots, capacity, cache.positions);
  k.graph.apply(appendOperation, [k, v, slots, rows.count, cache.keys, cache.values], {});
}
