import type { Device } from './device.ts';

/**
 * Scratch buffers that all programs of a device share: nothing in them outlives a run, and runs follow each other on one queue.
 * A program takes its slots once, at compile time, so its bind groups stay valid.
 */
export class Arena {
  readonly #device: Device;
  readonly #slots: GPUBuffer[] = [];

  constructor(device: Device) {
    this.#device = device;
  }

  /** One buffer for each size, all distinct, reusing what exists where it is large enough. */
  take(sizes: readonly number[]): readonly GPUBuffer[] {
    const free = [...this.#slots].sort((a, b) => a.size - b.size);
    const taken = new Map<number, GPUBuffer>();
    const order = sizes.map((_, index) => index).sort((a, b) => sizes[b]! - sizes[a]!);
    for (const index of order) {
      const fit = free.findIndex((slot) => slot.size >= sizes[index]!);
      if (fit >= 0) {
        taken.set(index, free.splice(fit, 1)[0]!);
      } else {
        const slot = this.#device.storage(sizes[index]!, `scratch ${this.#slots.length}`, 'scratch');
        this.#slots.push(slot);
        taken.set(index, slot);
      }
    }
    return sizes.map((_, index) => taken.get(index)!);
  }
}
