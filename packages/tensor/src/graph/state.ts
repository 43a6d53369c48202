import { ArgumentError } from '../errors.ts';
import type { DType } from './dtype.ts';
import { elementCount } from './dtype.ts';

/** What a state holds before its first write: zeros, or the same number everywhere. */
export type StateInit = 'zeros' | { readonly fill: number };

/**
 * A named, persistent buffer that programs read and write in order: a cache, a counter, a ring. This object only declares it;
 * the bytes live in the {@link StateBuffers} that a conversation owns, so one compiled program serves many conversations.
 */
export class State {
  /** Label in errors, `explain` and the debugger. */
  readonly name: string;
  /** Dimensions in elements. */
  readonly shape: readonly number[];
  /** Element type; packed f16 pairs are declared as `u32`. */
  readonly dtype: DType;
  /** Content before the first write. */
  readonly init: StateInit;

  constructor(options: { name: string; shape: readonly number[]; dtype: DType; init?: StateInit }) {
    for (const size of options.shape) {
      if (!Number.isSafeInteger(size) || size < 1) {
        throw new ArgumentError(
          `State "${options.name}": every dimension is a positive integer, got [${options.shape.join(', ')}].`,
        );
      }
    }
    this.name = options.name;
    this.shape = [...options.shape];
    this.dtype = options.dtype;
    this.init = options.init ?? 'zeros';
  }

  /** Size on the device in bytes (4 an element). */
  get byteLength(): number {
    return elementCount(this.shape) * 4;
  }
}
