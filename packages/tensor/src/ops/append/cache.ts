import { DTypeError, ShapeError } from '../../errors.ts';
import { elementCount, shapeText } from '../../graph/dtype.ts';
import type { State } from '../../graph/state.ts';

/** Cached keys and values of one layer. */
export interface KvCache {
  /** `[C, K, E]` f32, or `[C, K, E / 2]` u32 with two f16 a word. */
  readonly keys: State;
  /** `[C, K, Ev]` f32, or `[C, K, Ev / 2]` u32 with two f16 a word. */
  readonly values: State;
  /**
   * Positions that the cache serves where that is more than it has slots: it is a ring then, position p lying in slot p mod C. Without, every
   * position has a slot of its own.
   */
  readonly positions?: number;
}

/** What a cache's states say about it. */
export interface CacheLayout {
  readonly capacity: number;
  readonly kvHeads: number;
  /** Elements of a key head. */
  readonly keyDim: number;
  /** Elements of a value head. */
  readonly valueDim: number;
  /** Whether elements are f16 in pairs. */
  readonly packed: boolean;
}

/**
 * Reads the layout of a cache.
 * @throws {@link DTypeError} or {@link ShapeError} if the two states do not go together.
 */
export function cacheLayout({ keys, values }: KvCache): CacheLayout {
  const packed = keys.dtype === 'u32';
  if (keys.dtype !== values.dtype || keys.dtype === 'i32') {
    throw new DTypeError(
      `Cache "${keys.name}": expected keys and values both f32, or both u32 (packed f16); got ${keys.dtype} and ${values.dtype}.`,
    );
  }
  const [capacity, kvHeads, keyWords] = keys.shape;
  const [valueCapacity, valueHeads, valueWords] = values.shape;
  if (keys.shape.length !== 3 || values.shape.length !== 3 || capacity !== valueCapacity || kvHeads !== valueHeads) {
    throw new ShapeError(
      `Cache "${keys.name}": expected keys [C, K, E] and values [C, K, Ev] of the same C and K, got ${shapeText(keys.shape)} and ${shapeText(values.shape)}.`,
    );
  }
  const perWord = packed ? 2 : 1;
  return {
    capacity: capacity!,
    kvHeads: kvHeads!,
    keyDim: keyWords! * perWord,
    valueDim: valueWords! * perWord,
    packed,
  };
}

/** Words of one slot of a state. */
export const slotWords = (state: State): number => elementCount(state.shape.slice(1));
