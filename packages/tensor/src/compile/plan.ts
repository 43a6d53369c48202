import type { PlannedDispatch } from './lower.ts';
import type { BufferView } from './lowering.ts';

/** Assignment of scratch buffers to slots. */
export interface MemoryPlan {
  /** Slot of each scratch buffer, by its id. */
  readonly slotOf: ReadonlyMap<number, number>;
  /** Bytes of each slot. */
  readonly slotBytes: readonly number[];
  /** What the scratch buffers would take without sharing. */
  readonly unsharedBytes: number;
}

/**
 * Lets scratch buffers whose lifetimes do not meet share a slot. A buffer lives from the first dispatch that names it to the last;
 * `pinned` ones (inputs and outputs) live throughout. Two buffers of one dispatch never share, since WebGPU forbids reading and
 * writing one buffer in a dispatch.
 */
export function planMemory(dispatches: readonly PlannedDispatch[], pinned: Iterable<BufferView>): MemoryPlan {
  const lifetimes = new Map<number, { first: number; last: number; bytes: number }>();
  const touch = (view: BufferView, at: number) => {
    if (view.source.kind !== 'scratch') return;
    const { id, bytes } = view.source;
    const known = lifetimes.get(id);
    lifetimes.set(id, { first: Math.min(known?.first ?? at, at), last: Math.max(known?.last ?? at, at), bytes });
  };
  dispatches.forEach(({ bindings }, at) => Object.values(bindings).forEach((view) => touch(view, at)));
  for (const view of pinned) {
    touch(view, -1);
    touch(view, dispatches.length);
  }
  const slotOf = new Map<number, number>();
  const slotBytes: number[] = [];
  const freeFrom: number[] = [];
  const ordered = [...lifetimes].sort(([, a], [, b]) => a.first - b.first || b.bytes - a.bytes);
  for (const [id, { first, last, bytes }] of ordered) {
    let best = -1;
    slotBytes.forEach((size, slot) => {
      if (freeFrom[slot]! > first) return;
      // The tightest slot that fits; else the largest, which then grows.
      const fits = size >= bytes;
      const bestFits = best >= 0 && slotBytes[best]! >= bytes;
      if (
        best < 0 ||
        (fits && (!bestFits || size < slotBytes[best]!)) ||
        (!fits && !bestFits && size > slotBytes[best]!)
      ) {
        best = slot;
      }
    });
    if (best < 0) {
      best = slotBytes.length;
      slotBytes.push(bytes);
    }
    slotBytes[best] = Math.max(slotBytes[best]!, bytes);
    freeFrom[best] = last + 1;
    slotOf.set(id, best);
  }
  const unsharedBytes = [...lifetimes.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  return { slotOf, slotBytes, unsharedBytes };
}
