import type { Device } from '../device/device.ts';
import { ArgumentError, DeviceLimitError } from '../errors.ts';
import type { DType } from '../graph/dtype.ts';
import { elementCount } from '../graph/dtype.ts';
import type { State } from '../graph/state.ts';

/** Host arrays by dtype. */
export type HostArray = Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

/** Views `bytes` as the host array of `dtype`. */
export function hostArray(dtype: DType, bytes: ArrayBuffer): HostArray {
  if (dtype === 'f32') return new Float32Array(bytes);
  return dtype === 'u32' ? new Uint32Array(bytes) : new Int32Array(bytes);
}

/**
 * The bytes of a set of states: one conversation's memory. Programs bind it as a whole, and bind groups are cached with it, so
 * several conversations run on one model, each on its own buffers.
 */
export class StateBuffers {
  readonly #device: Device;
  readonly #buffers = new Map<State, GPUBuffer>();
  #destroyed = false;

  constructor(device: Device, states: Iterable<State>) {
    this.#device = device;
    const unique = [...new Set(states)];
    const limit = device.limits.maxStorageBufferBindingSize;
    for (const state of unique) {
      if (state.byteLength > limit) {
        throw new DeviceLimitError(
          `State "${state.name}" needs ${state.byteLength} bytes in one binding; this device binds at most ${limit}. Ask for a smaller capacity.`,
        );
      }
    }
    try {
      for (const state of unique) {
        this.#buffers.set(state, device.storageAndUniform(state.byteLength, state.name));
        if (state.init !== 'zeros') this.#fill(state);
      }
    } catch (error) {
      this.destroy();
      throw error;
    }
  }

  /** The states that it holds. */
  get states(): readonly State[] {
    return [...this.#buffers.keys()];
  }

  /** The buffer of a state. */
  buffer(state: State): GPUBuffer {
    if (this.#destroyed) throw new ArgumentError('These state buffers were destroyed; open a new conversation.');
    const buffer = this.#buffers.get(state);
    if (!buffer) {
      throw new ArgumentError(
        `State "${state.name}" is not among these state buffers; allocate every state that the program uses.`,
      );
    }
    return buffer;
  }

  /** Writes `data` at element `offset`, in order with the submits around it. */
  write(state: State, data: HostArray, offset = 0): void {
    if (offset + data.length > elementCount(state.shape)) {
      throw new ArgumentError(
        `State "${state.name}" has ${elementCount(state.shape)} elements; writing ${data.length} at ${offset} passes its end.`,
      );
    }
    this.#device.check();
    this.#device.gpu.queue.writeBuffer(this.buffer(state), offset * 4, data);
  }

  /** Reads elements `begin ..< end` after everything submitted so far. */
  async read(state: State, begin = 0, end = elementCount(state.shape)): Promise<HostArray> {
    const bytes = (end - begin) * 4;
    const loan = this.#device.staging.borrow(bytes);
    const encoder = this.#device.gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(this.buffer(state), begin * 4, loan.buffer, 0, bytes);
    this.#device.gpu.queue.submit([encoder.finish()]);
    return hostArray(state.dtype, await loan.read(bytes));
  }

  /** Frees the memory. */
  destroy(): void {
    this.#destroyed = true;
    for (const buffer of this.#buffers.values()) buffer.destroy();
    this.#buffers.clear();
  }

  #fill(state: State): void {
    const value = state.init === 'zeros' ? 0 : state.init.fill;
    const data = hostArray(state.dtype, new ArrayBuffer(state.byteLength)).fill(value) as HostArray;
    this.write(state, data);
  }
}
