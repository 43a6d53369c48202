/**
 * Times of single dispatches, from the device's own clock. A profiled run is the ordinary run of a program cut into one compute
 * pass a dispatch, so it computes the same; it is somewhat slower as a whole, and its gaps are not counted.
 */
import type { Device } from '../device/device.ts';
import { usage } from '../device/usage.ts';
import { MissingFeatureError } from '../errors.ts';
import type { Grid } from '../kernel/grid.ts';
import type { RunOptions } from './commands.ts';
import { Program } from './program.ts';
import { steadyClock } from './steady-clock.ts';

/** How a program is profiled. */
export interface ProfileOptions extends RunOptions {
  /** Runs that are timed, one after the other; each dispatch reports its median. Default 5. */
  readonly repeats?: number;
  /** Runs before those, for clocks and caches to settle. Default 1. */
  readonly warmups?: number;
  /** Called before every run; programs whose states move on are set back here. */
  readonly prepare?: () => void;
}

/** Time of one dispatch. */
export interface DispatchTime {
  readonly label: string;
  readonly section: string;
  readonly workgroups: Grid;
  /** Median over the repeats, in nanoseconds; 0 for a dispatch whose grid is empty. */
  readonly nanoseconds: number;
}

/** Times of a program's dispatches, in order. */
export interface Profile {
  readonly program: string;
  readonly bound: number;
  readonly repeats: number;
  readonly dispatches: readonly DispatchTime[];
  /** Sum of the medians, in nanoseconds. */
  readonly nanoseconds: number;
  /** The same by section. */
  readonly sections: Readonly<Record<string, number>>;
}

/** Timestamps in one query set, as WebGPU allows them. */
const querySetLimit = 4096;

/** The middle of some numbers; the mean of the two middle ones where there is none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Whether dispatches can be timed on this device. */
export function canProfile(device: Device): boolean {
  return device.has('timestamp-query');
}

/** Query sets and the buffers that their values pass through. */
class Timestamps {
  readonly #device: Device;
  readonly #sets: readonly GPUQuerySet[];
  readonly #resolved: readonly GPUBuffer[];

  constructor(device: Device, pairs: number) {
    this.#device = device;
    const counts = Array.from({ length: Math.ceil((2 * pairs) / querySetLimit) }, (_, set) =>
      Math.min(querySetLimit, 2 * pairs - set * querySetLimit),
    );
    this.#sets = counts.map((count) => device.gpu.createQuerySet({ type: 'timestamp', count }));
    this.#resolved = counts.map((count) =>
      device.buffer(count * 8, { usage: usage.queryResolve | usage.copySource, label: 'timestamps', purpose: 'other' }),
    );
  }

  /** Where pass `pair` writes its beginning and end. */
  writes(pair: number): GPUComputePassTimestampWrites {
    const first = (2 * pair) % querySetLimit;
    return {
      querySet: this.#sets[Math.floor((2 * pair) / querySetLimit)]!,
      beginningOfPassWriteIndex: first,
      endOfPassWriteIndex: first + 1,
    };
  }

  /** Ends the encoder, submits it and returns the duration of each pass in nanoseconds. */
  async submit(encoder: GPUCommandEncoder): Promise<readonly number[]> {
    const loans = this.#sets.map((set, index) => {
      const loan = this.#device.staging.borrow(set.count * 8);
      encoder.resolveQuerySet(set, 0, set.count, this.#resolved[index]!, 0);
      encoder.copyBufferToBuffer(this.#resolved[index]!, 0, loan.buffer, 0, set.count * 8);
      return { loan, bytes: set.count * 8 };
    });
    this.#device.gpu.queue.submit([encoder.finish()]);
    const durations: number[] = [];
    for (const bytes of await Promise.all(loans.map(({ loan, bytes: length }) => loan.read(length)))) {
      const ticks = new BigInt64Array(bytes);
      // A clock that is set back between two reads gives a negative difference, which says nothing.
      for (let i = 0; i < ticks.length; i += 2) durations.push(Math.max(0, Number(ticks[i + 1]! - ticks[i]!)));
    }
    return durations;
  }

  destroy(): void {
    for (const set of this.#sets) set.destroy();
    for (const buffer of this.#resolved) buffer.destroy();
  }
}

function encodeTimed(program: Program, timestamps: Timestamps, { states, bound = 0 }: RunOptions): GPUCommandEncoder {
  const groups = program.bindGroups(states);
  const encoder = program.device.gpu.createCommandEncoder({ label: `${program.name} profile` });
  program.dispatches.forEach((dispatch, index) => {
    const [x, y, z] = Program.grid(dispatch, bound);
    const pass = encoder.beginComputePass({ label: dispatch.label, timestampWrites: timestamps.writes(index) });
    if (x * y * z > 0) {
      pass.setPipeline(dispatch.pipeline.pipeline);
      pass.setBindGroup(0, groups[index]!);
      pass.dispatchWorkgroups(x, y, z);
    }
    pass.end();
  });
  return encoder;
}

/**
 * Runs a program with a timestamp around each dispatch. Every run computes and changes states as an ordinary run does. Browsers may
 * round the clock (Chrome to 0.1 ms unless started for developers); compare sums there.
 *
 * @throws {@link MissingFeatureError} where the device has no timestamp queries.
 */
export async function profile(program: Program, options: ProfileOptions = {}): Promise<Profile> {
  const { device } = program;
  const { repeats = 5, warmups = 1, bound = 0, prepare } = options;
  device.check();
  if (!canProfile(device)) {
    throw new MissingFeatureError(
      `Profiling ${program.name} needs the WebGPU feature "timestamp-query", which ${device.adapter.description || 'this device'} does not offer or was not asked for. Ask for a device without limits: 'portable', or time whole runs instead.`,
    );
  }
  const timestamps = new Timestamps(device, program.dispatches.length);
  try {
    await steadyClock(device);
    const runs: (readonly number[])[] = [];
    for (let run = 0; run < warmups + repeats; run++) {
      prepare?.();
      const durations = await device.scoped(() => timestamps.submit(encodeTimed(program, timestamps, options)));
      if (run >= warmups) runs.push(durations);
    }
    const dispatches = program.dispatches.map((dispatch, index): DispatchTime => {
      const workgroups = Program.grid(dispatch, bound);
      const empty = workgroups.includes(0);
      const nanoseconds = empty ? 0 : median(runs.map((durations) => durations[index]!));
      return { label: dispatch.label, section: dispatch.section, workgroups, nanoseconds };
    });
    const sections: Record<string, number> = {};
    for (const { section, nanoseconds } of dispatches) sections[section] = (sections[section] ?? 0) + nanoseconds;
    const total = dispatches.reduce((sum, { nanoseconds }) => sum + nanoseconds, 0);
    return { program: program.name, bound, repeats, dispatches, nanoseconds: total, sections };
  } finally {
    timestamps.destroy();
  }
}
