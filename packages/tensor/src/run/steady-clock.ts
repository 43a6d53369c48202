/** Brings a GPU to the clock at which it works: one that has idled, while pipelines compiled say, runs at a third of it or less. */
import type { Device } from '../device/device.ts';
import { usage } from '../device/usage.ts';
import { packUniforms, uniformName } from '../kernel/define-kernel.ts';
import { PassClock } from './pass-clock.ts';
import { spinKernel, spinLanes } from './spin.wgsl.ts';

/** Times within this of the fastest are of the same clock. */
const tolerance = 0.03;
/** Units in a row, with none faster than the fastest known, after which the clock stands. */
const calmUnits = 3;
/** The first time on a device the fastest is not known: it is what has not been beaten for so long, in ms. */
const calmMs = 250;

/** Decides from the times of equal units of work whether the clock still rises. */
export class ClockWatch {
  #fastest = Infinity;
  #beatenAt = 0;
  #calm = 0;
  #known = false;

  /** Before the first unit after a pause. */
  begin(now: number): void {
    this.#calm = 0;
    this.#beatenAt = now;
  }

  /**
   * Takes in what a unit took.
   * @returns whether the clock stands.
   */
  stands(unitMs: number, now: number): boolean {
    if (unitMs < this.#fastest * (1 - tolerance)) {
      this.#fastest = unitMs;
      this.#beatenAt = now;
    }
    this.#calm = unitMs <= this.#fastest * (1 + tolerance) ? this.#calm + 1 : 0;
    if (this.#known) return this.#calm >= calmUnits;
    this.#known = now - this.#beatenAt >= calmMs;
    return this.#known;
  }

  /** The clock did not come back to where it was, being hot or shared: the next time less is asked for. */
  giveUp(unitMs: number): void {
    this.#fastest = unitMs;
    this.#known = true;
  }
}

/** Multiplications are submitted in units that take about this long, two of them in flight. */
const unitMs = 2;
const workgroups = 1024;
const rounds = 500;
/** Most dispatches of a unit: no GPU is held for long. */
const mostDispatches = 16;

/** What keeps one device at work. */
class Spinner {
  readonly watch = new ClockWatch();
  readonly #device: Device;
  readonly #pipeline: GPUComputePipeline;
  readonly #group: GPUBindGroup;
  #dispatches = 1;

  private constructor(device: Device, pipeline: GPUComputePipeline, group: GPUBindGroup) {
    this.#device = device;
    this.#pipeline = pipeline;
    this.#group = group;
  }

  static async create(device: Device): Promise<Spinner> {
    const { pipeline, layout, source } = await device.pipelines.get(spinKernel, {});
    const bytes = packUniforms(spinKernel, { rounds });
    const uniforms = device.buffer(bytes.length, {
      usage: usage.uniform | usage.copyTarget,
      label: 'spin',
      purpose: 'other',
    });
    device.gpu.queue.writeBuffer(uniforms, 0, bytes);
    const sums = device.storage(workgroups * spinLanes * 4, 'spin', 'other');
    const entries = source.layout.map(({ name }, binding) => ({
      binding,
      resource: { buffer: name === uniformName ? uniforms : sums },
    }));
    return new Spinner(device, pipeline, device.gpu.createBindGroup({ label: 'spin', layout, entries }));
  }

  /** Submits a unit; resolves to what each of its dispatches took, in ms. */
  unit(): Promise<number> {
    const clock = new PassClock(this.#device);
    const encoder = this.#device.gpu.createCommandEncoder({ label: 'spin' });
    const pass = encoder.beginComputePass(clock.next('spin'));
    pass.setPipeline(this.#pipeline);
    pass.setBindGroup(0, this.#group);
    const count = this.#dispatches;
    for (let i = 0; i < count; i++) pass.dispatchWorkgroups(workgroups);
    pass.end();
    const read = clock.resolve(encoder);
    this.#device.gpu.queue.submit([encoder.finish()]);
    return read().then((passes) => {
      const each = passes[0]!.ms / count;
      this.#dispatches = Math.max(1, Math.min(mostDispatches, Math.round(unitMs / Math.max(each, 1e-3))));
      return each;
    });
  }
}

const spinners = new WeakMap<Device, Promise<Spinner>>();

/**
 * Keeps a GPU multiplying until its clock no longer rises: a few ms where it has just worked, a quarter of a second and more where it has
 * idled. What is timed afterwards, without a pause between, is timed at the clock of a busy GPU. Returns at once for software adapters, and
 * where the device has no timestamp queries.
 *
 * @param options.atMostMs - After this it is taken as it is. Default 1500.
 */
export async function steadyClock(device: Device, options: { readonly atMostMs?: number } = {}): Promise<void> {
  const { atMostMs = 1500 } = options;
  if (device.adapter.kind !== 'hardware' || !device.has('timestamp-query')) return;
  if (!spinners.has(device)) spinners.set(device, Spinner.create(device));
  const spinner = await spinners.get(device)!;
  const begin = performance.now();
  spinner.watch.begin(begin);
  const flight = [spinner.unit(), spinner.unit()];
  for (;;) {
    const took = await flight.shift()!;
    const now = performance.now();
    const stands = spinner.watch.stands(took, now);
    const late = now - begin >= atMostMs;
    if (late && !stands) spinner.watch.giveUp(took);
    if (stands || late) break;
    flight.push(spinner.unit());
  }
  await Promise.all(flight);
}
