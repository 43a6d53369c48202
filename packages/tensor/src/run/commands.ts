import type { Device } from '../device/device.ts';
import { ArgumentError } from '../errors.ts';
import type { State } from '../graph/state.ts';
import { elementCount } from '../graph/dtype.ts';
import type { HostArray, StateBuffers } from './state-buffers.ts';
import { hostArray } from './state-buffers.ts';
import type { PassMs } from './pass-clock.ts';
import { PassClock } from './pass-clock.ts';
import { Program } from './program.ts';

/** How a submit is made. */
export interface CommandOptions {
  /**
   * Measures the time that the GPU spends in compute passes; it needs the `timestamp-query` feature. `'sections'` gives each section
   * of a program a pass of its own, so that they are told apart.
   */
  readonly timed?: boolean | 'sections';
}

/** What a run of a program needs from the host. */
export interface RunOptions {
  readonly states?: StateBuffers;
  /** Upper bound on the context's length in tokens, for grids that follow it. */
  readonly bound?: number;
  /**
   * One of so many stretches of the program's dispatches, counted from 0, as good as equally many in each. The others are run before and
   * after it, in order, with nothing between them that runs the program or shares its memory.
   */
  readonly part?: { readonly index: number; readonly of: number };
}

/** Elements `begin ..< end` of a state. */
export interface StateStretch {
  readonly state: State;
  readonly begin: number;
  readonly end: number;
}

/**
 * One submit: program runs and readbacks in order. Runs share a compute pass until a readback needs a copy. Nothing is sent
 * before `submit`.
 */
export class Commands {
  readonly #device: Device;
  readonly #encoder: GPUCommandEncoder;
  readonly #afterSubmit: (() => void)[] = [];
  readonly #clock: PassClock | undefined;
  readonly #cutsSections: boolean;
  #pass: GPUComputePassEncoder | undefined;
  #section = '';

  constructor(device: Device, { timed = false }: CommandOptions = {}) {
    device.check();
    this.#device = device;
    this.#encoder = device.gpu.createCommandEncoder();
    this.#clock = timed ? new PassClock(device) : undefined;
    this.#cutsSections = timed === 'sections';
  }

  /** Milliseconds that the GPU spent in the compute passes of this submit. Resolves after `submit`. */
  gpuMs(): Promise<number> {
    return this.#times().then((passes) => passes.reduce((sum, { ms }) => sum + ms, 0));
  }

  /** The same by section of the programs, for a submit that was made with `timed: 'sections'`. */
  sectionMs(): Promise<Readonly<Record<string, number>>> {
    return this.#times().then((passes) => {
      const sums: Record<string, number> = {};
      for (const { section, ms } of passes) sums[section] = (sums[section] ?? 0) + ms;
      return sums;
    });
  }

  #times(): Promise<readonly PassMs[]> {
    const clock = this.#clock;
    if (!clock)
      throw new ArgumentError('This submit is not timed; make it with `new Commands(device, { timed: true })`.');
    this.#endPass();
    const read = clock.resolve(this.#encoder);
    return new Promise((resolve, reject) => {
      this.#afterSubmit.push(() => void read().then(resolve, reject));
    });
  }

  /** Appends a run. */
  run(program: Program, { states, bound = 0, part = { index: 0, of: 1 } }: RunOptions = {}): this {
    const groups = program.bindGroups(states);
    let current: GPUComputePipeline | undefined;
    const end = (index: number) => Math.round((program.dispatches.length * index) / part.of);
    const [first, last] = [end(part.index), end(part.index + 1)];
    program.dispatches.forEach((dispatch, index) => {
      if (index < first || index >= last) return;
      const [x, y, z] = Program.grid(dispatch, bound);
      if (x === 0 || y === 0 || z === 0) return;
      if (this.#cutsSections && dispatch.section !== this.#section) {
        this.#endPass();
        this.#section = dispatch.section;
        current = undefined;
      }
      const pass = (this.#pass ??= this.#encoder.beginComputePass(this.#clock?.next(this.#section)));
      if (dispatch.pipeline.pipeline !== current) {
        current = dispatch.pipeline.pipeline;
        pass.setPipeline(current);
      }
      pass.setBindGroup(0, groups[index]!);
      pass.dispatchWorkgroups(x, y, z);
    });
    return this;
  }

  /** Reads an output as it is at this point of the submit. Resolves after `submit`. */
  read(program: Program, output: string): Promise<HostArray> {
    const { buffer, tensor, offsetBytes } = program.outputBuffer(output);
    return this.#copy([{ buffer, offsetBytes, bytes: elementCount(tensor.shape) * 4 }]).then((bytes) =>
      hostArray(tensor.dtype, bytes),
    );
  }

  /** Reads stretches of states, as they are at this point of the submit, through one staging buffer. Resolves after `submit`. */
  readStates(states: StateBuffers, stretches: readonly StateStretch[]): Promise<HostArray[]> {
    const bytes = stretches.map(({ begin, end }) => (end - begin) * 4);
    return this.#copy(
      stretches.map(({ state, begin }, i) => ({
        buffer: states.buffer(state),
        offsetBytes: begin * 4,
        bytes: bytes[i]!,
      })),
    ).then((all) => {
      let from = 0;
      return stretches.map(({ state }, i) => hostArray(state.dtype, all.slice(from, (from += bytes[i]!))));
    });
  }

  /** Copies elements between states, for marks and prefixes. */
  copyState(
    from: { states: StateBuffers; state: State; offset: number },
    to: { states: StateBuffers; state: State; offset: number },
    count: number,
  ): this {
    this.#endPass();
    this.#encoder.copyBufferToBuffer(
      from.states.buffer(from.state),
      from.offset * 4,
      to.states.buffer(to.state),
      to.offset * 4,
      count * 4,
    );
    return this;
  }

  /** Sends everything. */
  submit(): void {
    this.#device.check();
    this.#endPass();
    this.#device.gpu.queue.submit([this.#encoder.finish()]);
    for (const action of this.#afterSubmit) action();
  }

  #copy(sources: readonly { buffer: GPUBuffer; offsetBytes: number; bytes: number }[]): Promise<ArrayBuffer> {
    this.#endPass();
    const total = sources.reduce((sum, { bytes }) => sum + bytes, 0);
    const loan = this.#device.staging.borrow(total);
    let target = 0;
    for (const { buffer, offsetBytes, bytes } of sources) {
      this.#encoder.copyBufferToBuffer(buffer, offsetBytes, loan.buffer, target, bytes);
      target += bytes;
    }
    return new Promise((resolve, reject) => {
      this.#afterSubmit.push(() => void loan.read(total).then(resolve, reject));
    });
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }
}
