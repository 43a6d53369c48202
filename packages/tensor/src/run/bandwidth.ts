import { compile } from '../compile/compile.ts';
import type { Device } from '../device/device.ts';
import { ForerunError } from '../errors.ts';
import { elementCount } from '../graph/dtype.ts';
import { trace } from '../graph/graph.ts';
import { defineOperation } from '../graph/operation.ts';
import { State } from '../graph/state.ts';
import { grid } from '../kernel/grid.ts';
import { streamFillKernel, streamLanes, streamMultiplier, streamReadKernel } from './bandwidth.wgsl.ts';
import { Commands } from './commands.ts';
import { canProfile, median, profile } from './profiler.ts';
import type { Program } from './program.ts';
import { StateBuffers } from './state-buffers.ts';
import { steadyClock } from './steady-clock.ts';

/** A measurement computed something else than it had to; its time says nothing. */
export class MeasurementError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('measurement', message, options);
  }
}

/** What reading memory in one stream reaches. */
export interface Bandwidth {
  readonly bytesPerSecond: number;
  /** Bytes that each timed run read. */
  readonly bytes: number;
  /** The device's clock, or the host's where the device has none. */
  readonly clock: 'timestamp-query' | 'host';
}

/** How bandwidth is measured. */
export interface BandwidthOptions {
  /** Bytes to read, rounded to what the kernel takes; more than the device's caches hold. By default 256 MiB, in software 8 MiB. */
  readonly bytes?: number;
  /** Timed runs, of which the median counts. Default 9. */
  readonly repeats?: number;
}

const hardware = { workgroups: 2048, bytes: 256 * 2 ** 20 };
const software = { workgroups: 64, bytes: 8 * 2 ** 20 };

const streamFill = defineOperation({
  name: 'stream-fill',
  writes: [0],
  infer: () => [],
  reference: ([words]) => {
    words!.data.forEach((_, i) => (words!.data[i] = Math.imul(i, streamMultiplier) >>> 0));
    return [];
  },
  lower: (lowering, { operands }) => {
    const count = elementCount((operands[0] as State).shape);
    lowering.dispatch(streamFillKernel, {
      constants: {},
      uniforms: { count },
      bindings: { words: lowering.state(operands[0]!) },
      workgroups: grid(Math.ceil(count / streamLanes)),
      bytes: 4 * count,
    });
  },
});

const streamRead = defineOperation<{ readonly workgroups: number }>({
  name: 'stream-read',
  infer: (_, { workgroups }) => [{ shape: [workgroups * streamLanes], dtype: 'u32' }],
  reference: ([words], { workgroups }) => {
    const sums = new Uint32Array(workgroups * streamLanes);
    words!.data.forEach((word, i) => (sums[(i >> 2) % sums.length]! += word));
    return [{ shape: [sums.length], dtype: 'u32', data: Float64Array.from(sums) }];
  },
  lower: (lowering, { operands, outputs, attributes: { workgroups } }) => {
    const count = elementCount((operands[0] as State).shape);
    const stride = workgroups * streamLanes;
    lowering.dispatch(streamReadKernel, {
      constants: {},
      uniforms: { stride, rounds: count / (16 * stride) },
      bindings: { words: lowering.state(operands[0]!), sums: lowering.tensor(outputs[0]!) },
      workgroups: [workgroups, 1, 1],
      bytes: 4 * count,
    });
  },
});

/** Sum of the pattern over `count` words, modulo 2^32. */
function expectedSum(count: number): number {
  const pairs = (BigInt(count) * BigInt(count - 1)) / 2n;
  return Number((pairs * BigInt(streamMultiplier)) % (1n << 32n));
}

/** Time of a run by the host's clock: ten runs in a submit less one, so that what a submit costs falls out. */
async function hostNanoseconds(program: Program, states: StateBuffers, repeats: number): Promise<number> {
  const { device } = program;
  const timed = async (runs: number) => {
    const start = performance.now();
    const commands = new Commands(device);
    for (let run = 0; run < runs; run++) commands.run(program, { states });
    commands.submit();
    await device.idle();
    return (performance.now() - start) * 1e6;
  };
  await timed(1);
  const times: number[] = [];
  for (let repeat = 0; repeat < repeats; repeat++) times.push(((await timed(11)) - (await timed(1))) / 10);
  return median(times);
}

/**
 * Measures how fast the device reads memory: one pass over a buffer with a known content, whose sum is checked.
 *
 * @throws {@link MeasurementError} where the sum is wrong; DeviceLimitError where the buffer is larger than the device takes.
 */
export async function measureBandwidth(device: Device, options: BandwidthOptions = {}): Promise<Bandwidth> {
  const { repeats = 9 } = options;
  const defaults = device.adapter.kind === 'software' ? software : hardware;
  const sweep = defaults.workgroups * streamLanes * 64;
  const limit = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);
  const bytes = Math.max(1, Math.floor((options.bytes ?? Math.min(defaults.bytes, limit)) / sweep)) * sweep;
  const words = new State({ name: 'bandwidth words', shape: [bytes / 4], dtype: 'u32' });
  const fill = trace((graph) => void graph.apply(streamFill, [words], {}));
  const reading = trace((graph) => {
    graph.output('sums', graph.apply(streamRead, [words], { workgroups: defaults.workgroups })[0]!);
  });
  const states = new StateBuffers(device, [words]);
  const programs: Program[] = [];
  try {
    for (const graph of [fill, reading]) programs.push(await compile(graph, { device, name: 'bandwidth' }));
    const [filler, reader] = programs as [Program, Program];
    const sums = await device.scoped(() => {
      const commands = new Commands(device).run(filler, { states }).run(reader, { states });
      const result = commands.read(reader, 'sums');
      commands.submit();
      return result;
    });
    const sum = (sums as Uint32Array).reduce((total, value) => (total + value) % 2 ** 32, 0);
    if (sum !== expectedSum(bytes / 4)) {
      throw new MeasurementError(
        `The bandwidth kernel read ${bytes} bytes and summed them to ${sum}; expected ${expectedSum(bytes / 4)}. The device computes wrongly; run \`forerun check\`.`,
      );
    }
    await steadyClock(device);
    const clock = canProfile(device) ? 'timestamp-query' : 'host';
    const nanoseconds =
      clock === 'timestamp-query'
        ? (await profile(reader, { states, repeats })).nanoseconds
        : await hostNanoseconds(reader, states, repeats);
    if (!(nanoseconds > 0)) {
      throw new MeasurementError(
        `Reading ${bytes} bytes took no time by the ${clock} clock, which is too coarse; read more bytes.`,
      );
    }
    return { bytesPerSecond: bytes / (nanoseconds / 1e9), bytes, clock };
  } finally {
    for (const program of programs) program.destroy();
    states.destroy();
  }
}
