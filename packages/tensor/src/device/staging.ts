import type { Device } from './device.ts';
import { mapModeRead, usage } from './usage.ts';

/** A staging buffer on loan: copy into `buffer`, submit, then `read`. */
export interface StagingLoan {
  readonly buffer: GPUBuffer;
  /** Waits for the copy and returns the bytes. */
  read(bytes: number): Promise<ArrayBuffer>;
}

/** Buffers through which results come back, reused by size class so that a long run allocates nothing. */
export class Staging {
  readonly #device: Device;
  readonly #free = new Map<number, GPUBuffer[]>();

  constructor(device: Device) {
    this.#device = device;
  }

  /** Borrows a buffer of at least `bytes`; it returns to the pool when it has been read. */
  borrow(bytes: number): StagingLoan {
    const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, 256)));
    const buffer =
      this.#free.get(size)?.pop() ??
      this.#device.buffer(size, { usage: usage.mapRead | usage.copyTarget, label: 'staging', purpose: 'staging' });
    return {
      buffer,
      read: async (length) => {
        const mappedBytes = Math.ceil(length / 4) * 4;
        let copy: ArrayBuffer;
        try {
          await buffer.mapAsync(mapModeRead, 0, mappedBytes);
          // wgpu lets a map succeed on a device that was destroyed meanwhile; only its range is refused.
          copy = buffer.getMappedRange(0, mappedBytes).slice(0, length);
          buffer.unmap();
        } catch (cause) {
          throw await this.#device.explainRejection(cause);
        }
        const pool = this.#free.get(size);
        if (pool) pool.push(buffer);
        else this.#free.set(size, [buffer]);
        this.#device.check();
        return copy;
      },
    };
  }
}
