/** Times candidates of the choice table on the device's own clock. */
import { choiceStore } from '#choice-store';
import type { ChoiceStore, ChoiceTimer, TimedBuffer, TimedDispatch } from '../compile/choices.ts';
import { ChoiceTable } from '../compile/choices.ts';
import type { Device } from '../device/device.ts';
import type { Pipeline } from '../device/pipelines.ts';
import { usage } from '../device/usage.ts';
import { DeviceLimitError, GpuValidationError, OutOfMemoryError } from '../errors.ts';
import { packUniforms, uniformName } from '../kernel/define-kernel.ts';
import type { Grid } from '../kernel/grid.ts';
import { grid } from '../kernel/grid.ts';
import { PassClock } from './pass-clock.ts';
import { canProfile, median } from './profiler.ts';
import { steadyClock } from './steady-clock.ts';

/** Rounds of which the median counts, after one that does not. */
const rounds = 5;

/** Dispatches of a candidate in one timed pass, at least; what is streamed lies in several places up to this size. */
const repeats = 4;
const streamedBytes = 96 * 2 ** 20;

/** Distance between two places of what is streamed. */
const placeBytes = (bytes: number) => Math.ceil(bytes / 256) * 256;

const places = (bytes: number) => Math.max(1, Math.min(repeats, Math.floor(streamedBytes / placeBytes(bytes))));

interface Prepared {
  readonly pipeline: Pipeline;
  readonly groups: readonly GPUBindGroup[];
  readonly workgroups: Grid;
}

/** Buffers that all candidates of a question share, by binding name; freed together. */
class Bench {
  readonly #device: Device;
  readonly #buffers = new Map<string, GPUBuffer>();

  constructor(device: Device, works: readonly (readonly TimedDispatch[])[]) {
    this.#device = device;
    const sizes = new Map<string, number>();
    const fills = new Map<string, number>();
    for (const { buffers } of works.flat()) {
      for (const [name, { bytes, streamed, fill }] of Object.entries<TimedBuffer>(buffers)) {
        const size = streamed ? placeBytes(bytes) * places(bytes) : bytes;
        sizes.set(name, Math.max(sizes.get(name) ?? 0, size));
        if (fill !== undefined) fills.set(name, fill);
      }
    }
    for (const [name, bytes] of sizes) {
      const buffer = device.storage(bytes, `timing ${name}`, 'other');
      this.#buffers.set(name, buffer);
      const fill = fills.get(name);
      if (fill !== undefined) device.gpu.queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(fill));
    }
  }

  /** A dispatch with one bind group for each place of what it streams. */
  async prepare({ kernel, constants, uniforms, buffers, workgroups }: TimedDispatch): Promise<Prepared> {
    const device = this.#device;
    const pipeline = await device.pipelines.get(kernel, constants);
    const bytes = packUniforms(kernel, uniforms);
    const flags = usage.uniform | usage.copyTarget;
    const own = device.buffer(bytes.length, { usage: flags, label: 'timing uniforms', purpose: 'other' });
    this.#buffers.set(`uniforms ${this.#buffers.size}`, own);
    device.gpu.queue.writeBuffer(own, 0, bytes);
    const streamed = Math.max(
      1,
      ...Object.values(buffers).map((buffer) => (buffer.streamed ? places(buffer.bytes) : 1)),
    );
    const groups = Array.from({ length: streamed }, (_, place) =>
      device.gpu.createBindGroup({
        layout: pipeline.layout,
        entries: pipeline.source.layout.map(({ name }, binding) => {
          if (name === uniformName) return { binding, resource: { buffer: own } };
          const { bytes: size, streamed: moves } = buffers[name]!;
          const offset = moves ? placeBytes(size) * (place % places(size)) : 0;
          return { binding, resource: { buffer: this.#buffers.get(name)!, offset, size: Math.ceil(size / 16) * 16 } };
        }),
      }),
    );
    return { pipeline, groups, workgroups: typeof workgroups === 'number' ? grid(workgroups) : workgroups };
  }

  destroy(): void {
    for (const buffer of this.#buffers.values()) buffer.destroy();
  }
}

function encode(pass: GPUComputePassEncoder, work: readonly Prepared[]): void {
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const { pipeline, groups, workgroups } of work) {
      pass.setPipeline(pipeline.pipeline);
      pass.setBindGroup(0, groups[repeat % groups.length]!);
      pass.dispatchWorkgroups(...workgroups);
    }
  }
}

/** Nanoseconds of one run of each work, all in one submit; infinite for what could not be prepared. */
async function timeRound(device: Device, works: readonly (readonly Prepared[] | undefined)[]): Promise<number[]> {
  const clock = new PassClock(device);
  const encoder = device.gpu.createCommandEncoder();
  works.forEach((work, i) => {
    if (!work) return;
    const pass = encoder.beginComputePass(clock.next(String(i)));
    encode(pass, work);
    pass.end();
  });
  const read = clock.resolve(encoder);
  device.gpu.queue.submit([encoder.finish()]);
  const times = works.map(() => Infinity);
  for (const { section, ms } of await read()) times[Number(section)] = (ms * 1e6) / repeats;
  return times;
}

/** Whether a failure says only that this device cannot run a candidate. */
const isRefusal = (error: unknown): boolean =>
  error instanceof DeviceLimitError || error instanceof OutOfMemoryError || error instanceof GpuValidationError;

/** A timer on a device's clock: the median of interleaved rounds. Candidates that the device refuses take for ever. */
export function deviceTimer(device: Device): ChoiceTimer {
  return async (works) => {
    let bench: Bench | undefined;
    try {
      const made = await device.scoped(() => (bench = new Bench(device, works)));
      const prepared = await Promise.all(
        works.map((work) =>
          Promise.all(work.map((dispatch) => made.prepare(dispatch))).catch((error: unknown) => {
            if (isRefusal(error)) return undefined;
            throw error;
          }),
        ),
      );
      await steadyClock(device);
      const taken: number[][] = [];
      for (let round = 0; round <= rounds; round++) {
        const times = await device.scoped(() => timeRound(device, prepared));
        if (round > 0) taken.push(times);
      }
      return works.map((_, i) => median(taken.map((times) => times[i]!)));
    } catch (error) {
      device.check();
      if (isRefusal(error)) return works.map(() => Infinity);
      throw error;
    } finally {
      bench?.destroy();
    }
  };
}

/** Device and driver in words: answers of the choice table hold for these. */
export function deviceIdentity({ adapter }: Device): string {
  return [adapter.vendor, adapter.architecture, adapter.device, adapter.description].join(' | ');
}

const tables = new WeakMap<Device, Promise<ChoiceTable>>();

async function openTable(device: Device, store: ChoiceStore): Promise<ChoiceTable> {
  const identity = deviceIdentity(device);
  if (device.adapter.kind !== 'hardware' || !canProfile(device)) return new ChoiceTable({ identity });
  const key = `choices ${identity}`.replaceAll(/[^\dA-Za-z]+/g, '-');
  const table = new ChoiceTable({ identity, timer: deviceTimer(device), keep: (text) => store.write(key, text) });
  table.restore((await store.read(key)) ?? '');
  return table;
}

/**
 * The choice table of a device, one for all its programs. It measures on hardware that has timestamp queries, once for each adapter and
 * driver: answers are kept in a file of the user's cache folder (Node) or in local storage (browser pages). Elsewhere it gives defaults.
 */
export function deviceChoices(device: Device, store: ChoiceStore = choiceStore): Promise<ChoiceTable> {
  const known = tables.get(device);
  if (known) return known;
  const opened = openTable(device, store);
  tables.set(device, opened);
  return opened;
}
