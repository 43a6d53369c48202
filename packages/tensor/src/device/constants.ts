import type { Device } from './device.ts';

type Table = Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

/** Tables that programs were compiled with; equal bytes are one buffer. */
export class ConstantCache {
  readonly #device: Device;
  readonly #byLength = new Map<number, { bytes: Uint32Array; buffer: GPUBuffer }[]>();

  constructor(device: Device) {
    this.#device = device;
  }

  /** The buffer that holds `table`. */
  get(table: Table): GPUBuffer {
    const bytes = new Uint32Array(table.buffer, table.byteOffset, table.length);
    const candidates = this.#byLength.get(bytes.length) ?? [];
    const known = candidates.find((candidate) => candidate.bytes.every((word, index) => word === bytes[index]));
    if (known) return known.buffer;
    const buffer = this.#device.storage(bytes.byteLength, 'constant', 'other');
    this.#device.gpu.queue.writeBuffer(buffer, 0, table);
    this.#byLength.set(bytes.length, [...candidates, { bytes: bytes.slice(), buffer }]);
    return buffer;
  }
}
