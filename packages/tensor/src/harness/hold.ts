/**
 * Holds kernels to their float64 references: one traced body is interpreted and run on a device whose scratch was filled with NaN,
 * and the two must agree. Free of any test framework, so that packages outside use it for their own operations.
 */
import { compile } from '../compile/compile.ts';
import type { Arithmetic } from '../compile/lowering.ts';
import type { Device } from '../device/device.ts';
import { ForerunError } from '../errors.ts';
import type { DType } from '../graph/dtype.ts';
import { elementCount } from '../graph/dtype.ts';
import type { Graph } from '../graph/graph.ts';
import { trace } from '../graph/graph.ts';
import type { State } from '../graph/state.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { Weight } from '../graph/weight.ts';
import { Commands } from '../run/commands.ts';
import { interpret } from '../run/interpret.ts';
import type { HostArray } from '../run/state-buffers.ts';
import { hostArray, StateBuffers } from '../run/state-buffers.ts';
import { WeightStore } from '../run/weight-store.ts';
import { randomSource } from './random.ts';

/** A kernel's output differs from its reference by more than its tolerance. */
export class MismatchError extends ForerunError {
  constructor(message: string) {
    super('mismatch', message);
  }
}

/** An input of the body: a shape whose values are drawn from a seeded normal, or given numbers. */
export interface HeldInput {
  readonly shape: readonly number[];
  readonly dtype?: DType;
  /** Values in row-major order; without, standard normals (f32) from the seed. */
  readonly data?: ArrayLike<number>;
}

/** What is traced, with which inputs, and how close the results must be. */
export interface Held<Names extends string> {
  readonly inputs: Readonly<Record<Names, HeldInput>>;
  readonly body: (tensors: Readonly<Record<Names, Tensor>>, graph: Graph) => Readonly<Record<string, Tensor>> | void;
  /** Largest `‖out - ref‖ / ‖ref‖` per output or state, f32 only; integers must be equal. */
  readonly tolerance: number;
  /** Content of states before the run; others start as declared. Their content afterwards is compared too. */
  readonly states?: ReadonlyMap<State, ArrayLike<number>>;
  /** Values of the weights that the body reads, row-major, as they are after rounding to their format. */
  readonly weights?: ReadonlyMap<Weight, ArrayLike<number>>;
  /** Uploads `weights` into `store`; needed when there are any. */
  readonly upload?: (store: WeightStore) => Promise<void>;
  readonly bound?: number;
  readonly fusion?: boolean;
  readonly arithmetic?: Arithmetic;
  readonly seed?: number;
}

/** What was computed, for further assertions. */
export interface HeldResult {
  readonly outputs: Readonly<Record<string, HostArray>>;
  readonly states: ReadonlyMap<State, HostArray>;
  readonly dispatches: number;
}

/** `‖out - ref‖ / ‖ref‖`; infinite if anything is not finite where the reference is. */
export function relativeError(out: ArrayLike<number>, reference: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < reference.length; i++) {
    if (out[i] === reference[i]) {
      norm += Number.isFinite(reference[i]!) ? reference[i]! ** 2 : 0;
      continue;
    }
    if (!Number.isFinite(out[i]!)) return Infinity;
    difference += (out[i]! - reference[i]!) ** 2;
    norm += reference[i]! ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}

/** What scratch memory is filled with: a NaN that nothing computes. */
const poison = 0x7fc0_dead;

function compare(
  name: string,
  pair: { out: HostArray; reference: Float64Array; dtype: DType },
  tolerance: number,
): void {
  const { out, reference, dtype } = pair;
  const words = new Uint32Array(out.buffer, out.byteOffset, out.length);
  const unwritten = words.findIndex((word, i) => word === poison && !Number.isNaN(reference[i]));
  if (unwritten >= 0) {
    throw new MismatchError(`${name}[${unwritten}]: no kernel wrote it; expected ${reference[unwritten]}.`);
  }
  if (dtype !== 'f32') {
    const index = reference.findIndex((value, i) => value !== out[i]);
    if (index >= 0) throw new MismatchError(`${name}[${index}]: expected ${reference[index]}, got ${out[index]}.`);
    return;
  }
  const error = relativeError(out, reference);
  if (!(error <= tolerance)) {
    let worst = 0;
    reference.forEach((value, i) => {
      const off = Math.abs(value - out[i]!);
      if (!(off <= Math.abs(reference[worst]! - out[worst]!))) worst = i;
    });
    throw new MismatchError(
      `${name}: relative error ${error.toExponential(2)} is above ${tolerance}; worst at ${worst}: expected ${reference[worst]}, got ${out[worst]}.`,
    );
  }
}

/**
 * Runs `body` on the device and through the references and compares every output and state.
 * @throws {@link MismatchError} with the first output that is off.
 */
export async function hold<Names extends string>(device: Device, held: Held<Names>): Promise<HeldResult> {
  const random = randomSource(held.seed ?? 1);
  const names = Object.keys(held.inputs) as Names[];
  const inputs = names.map((name) => {
    const { shape, dtype = 'f32', data } = held.inputs[name];
    const values = data ? Array.from(data) : Array.from({ length: elementCount(shape) }, () => random.normal());
    return { name, shape, dtype, values: dtype === 'f32' ? values.map(Math.fround) : values };
  });
  const graph = trace((traced) => {
    const tensors = Object.fromEntries(
      inputs.map(({ name, shape, dtype }) => [name, traced.input(name, shape, dtype)]),
    );
    const outputs = held.body(tensors as Record<Names, Tensor>, traced) ?? {};
    for (const [name, tensor] of Object.entries<Tensor>(outputs)) traced.output(name, tensor);
  });

  const expectedStates = new Map([...(held.states ?? [])].map(([state, data]) => [state, Float64Array.from(data)]));
  const expected = interpret(graph, {
    inputs: Object.fromEntries(inputs.map(({ name, values }) => [name, values])),
    states: expectedStates,
    weights: (weight) => Float64Array.from(held.weights!.get(weight)!),
  });

  const weights = new WeightStore(device);
  const { fusion = true, arithmetic = 'f32' } = held;
  const program = await compile(graph, { device, name: 'held', weights, fusion, arithmetic });
  weights.allocate();
  await held.upload?.(weights);
  const buffers = new StateBuffers(device, program.states);
  try {
    for (const buffer of program.scratchBuffers) {
      device.gpu.queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(poison));
    }
    for (const { name, dtype, values } of inputs) {
      const array = hostArray(dtype, new ArrayBuffer(values.length * 4));
      array.set(values);
      program.write(name, array);
    }
    for (const [state, data] of held.states ?? []) {
      const array = hostArray(state.dtype, new ArrayBuffer(data.length * 4));
      array.set(data as ArrayLike<number>);
      if (program.states.includes(state)) buffers.write(state, array);
    }
    const results = await device.scoped(async () => {
      const commands = new Commands(device).run(program, { states: buffers, bound: held.bound ?? 0 });
      const reads = [...graph.outputs.keys()].map(async (name) => [name, await commands.read(program, name)] as const);
      commands.submit();
      return Promise.all(reads);
    });
    const outputs = Object.fromEntries(results);
    for (const [name, out] of results) {
      const { data, dtype } = expected[name]!;
      compare(name, { out, reference: data, dtype }, held.tolerance);
    }
    const states = new Map<State, HostArray>();
    for (const state of program.states) {
      const out = await buffers.read(state);
      states.set(state, out);
      compare(
        `state ${state.name}`,
        { out, reference: expectedStates.get(state)!, dtype: state.dtype },
        held.tolerance,
      );
    }
    return { outputs, states, dispatches: program.dispatches.length };
  } finally {
    buffers.destroy();
    program.destroy();
    weights.destroy();
  }
}
