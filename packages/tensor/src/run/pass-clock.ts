import type { Device } from '../device/device.ts';
import { usage } from '../device/usage.ts';
import { ArgumentError } from '../errors.ts';

/** Compute passes that one clock can time. */
const maxPasses = 64;

/** What one compute pass took. */
export interface PassMs {
  /** The section that it ran. */
  readonly section: string;
  readonly ms: number;
}

/** Times the compute passes of one submit by the timestamps at their ends. */
export class PassClock {
  readonly #device: Device;
  readonly #queries: GPUQuerySet;
  readonly #sections: string[] = [];

  constructor(device: Device) {
    if (!device.has('timestamp-query')) {
      throw new ArgumentError('Timing on the GPU needs the feature timestamp-query, which this device does not have.');
    }
    this.#device = device;
    this.#queries = device.gpu.createQuerySet({ type: 'timestamp', count: 2 * maxPasses });
  }

  /** What the next pass, which runs `section`, must be made with. */
  next(section: string): GPUComputePassDescriptor {
    if (this.#sections.length === maxPasses) {
      throw new ArgumentError(`A timed submit has at most ${maxPasses} compute passes.`);
    }
    const first = 2 * (this.#sections.push(section) - 1);
    return {
      timestampWrites: {
        querySet: this.#queries,
        beginningOfPassWriteIndex: first,
        endOfPassWriteIndex: first + 1,
      },
    };
  }

  /** Records the copy of all timestamps; what it returns reads them, in ms, after the submit. */
  resolve(encoder: GPUCommandEncoder): () => Promise<readonly PassMs[]> {
    const bytes = Math.max(1, this.#sections.length) * 16;
    const resolved = this.#device.buffer(bytes, {
      usage: usage.queryResolve | usage.copySource,
      label: 'timestamps',
      purpose: 'other',
    });
    const loan = this.#device.staging.borrow(bytes);
    encoder.resolveQuerySet(this.#queries, 0, 2 * this.#sections.length, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, loan.buffer, 0, bytes);
    return async () => {
      const stamps = new BigUint64Array(await loan.read(bytes));
      resolved.destroy();
      this.#queries.destroy();
      return this.#sections.map((section, pass) => {
        // A clock that is set back between two reads gives a difference that says nothing.
        const ns = BigInt.asIntN(64, stamps[2 * pass + 1]! - stamps[2 * pass]!);
        return { section, ms: Math.max(0, Number(ns)) / 1e6 };
      });
    };
  }
}
