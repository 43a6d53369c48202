/**
 * From a traced graph to a program: drop what nothing needs, fuse, let each operation choose its kernels, share scratch memory,
 * and make the pipelines. Each pass is a file of its own and pure; only the last touches the device.
 */
import type { Device } from '../device/device.ts';
import { ArgumentError, MissingFeatureError } from '../errors.ts';
import type { Graph } from '../graph/graph.ts';
import type { State } from '../graph/state.ts';
import type { Guard } from '../kernel/define-kernel.ts';
import type { CompiledDispatch } from '../run/program.ts';
import { Program } from '../run/program.ts';
import { WeightStore } from '../run/weight-store.ts';
import { liveNodes } from './canonicalise.ts';
import { fuse } from './fuse.ts';
import type { PlannedDispatch } from './lower.ts';
import { lower } from './lower.ts';
import type { Arithmetic } from './lowering.ts';
import { planMemory } from './plan.ts';
import { packProgramUniforms } from './uniforms.ts';

/** How a graph is compiled. */
export interface CompileOptions {
  readonly device: Device;
  /** Label in errors and `explain`. */
  readonly name: string;
  /** Where the weights lie; needed when the graph reads any. */
  readonly weights?: WeightStore;
  /** Every kernel returns at once while this u32 of a state is not 0. */
  readonly guard?: { readonly state: State; readonly word: number };
  /**
   * `'f32'` (default), or `'f16'`: the decode kernels of `linear` with weights in f16, q8 or q4 multiply in half precision, with sums
   * over more than 8 values still in f32. Faster where hardware packs halves; results are off by about 5e-4 of their norm. Activations
   * beyond 8,000 in magnitude (less if weights in f16 exceed 1) may overflow to infinity. Weights in f32, bf16 and GGUF's blocks, and
   * all other kernels, stay in f32. Kernels of this arithmetic have `arithmetic-f16-` in their names.
   */
  readonly arithmetic?: Arithmetic;
  /** Leave the graph as it was traced; for tests that compare. */
  readonly fusion?: boolean;
}

/** The guard as a dispatch checks it: through its own binding if it writes the guarding state. */
function guardFor({ kernel, bindings }: PlannedDispatch, guard: Guard, options: CompileOptions): Guard {
  const through = Object.entries(bindings).find(
    ([name, { source }]) =>
      source.kind === 'state' &&
      source.state === options.guard!.state &&
      ['write', 'read-write'].includes(kernel.bindings[name]?.access ?? ''),
  );
  return through ? { ...guard, through: through[0] } : guard;
}

/** The arithmetic asked for, if the device can do it. */
function checkedArithmetic({ device, name, arithmetic = 'f32' }: CompileOptions): Arithmetic {
  if (arithmetic !== 'f32' && arithmetic !== 'f16') {
    throw new ArgumentError(`Compiling ${name}: arithmetic must be 'f32' or 'f16', got ${String(arithmetic)}.`);
  }
  if (arithmetic === 'f16' && !device.has('shader-f16')) {
    throw new MissingFeatureError(
      `Compiling ${name} with arithmetic 'f16' needs the WebGPU feature "shader-f16", which ${device.adapter.description || 'this device'} does not offer or was not asked for. Leave arithmetic at 'f32', or ask for a device that has the feature, without limits: 'portable'.`,
    );
  }
  return arithmetic;
}

/**
 * Compiles a traced graph for a device. Pipelines are made asynchronously; equal kernels are shared with all other programs.
 * @throws {@link MissingFeatureError} where `arithmetic` is f16 and the device has no `shader-f16`.
 */
export async function compile(graph: Graph, options: CompileOptions): Promise<Program> {
  const { device, name } = options;
  device.check();
  const arithmetic = checkedArithmetic(options);
  const weights = options.weights ?? new WeightStore(device);
  const live = liveNodes(graph);
  const nodes = options.fusion === false ? live : fuse(graph, live, { weights });
  const lowered = lower(graph, nodes, { device, weights, arithmetic });
  const pinned = [...graph.inputs.map(({ tensor }) => tensor), ...graph.outputs.values()].map((tensor) =>
    lowered.views.get(tensor)!,
  );
  const plan = planMemory(lowered.dispatches, pinned);
  const guard: Guard | undefined = options.guard && {
    words: Math.ceil(options.guard.state.shape.reduce((a, b) => a * b, 1) / 4) * 4,
    word: options.guard.word,
  };
  const { buffer: uniforms, offsets } = packProgramUniforms(device, name, lowered.dispatches);
  const dispatches = await Promise.all(
    lowered.dispatches.map(async (dispatch, index): Promise<CompiledDispatch> => ({
      ...dispatch,
      pipeline: await device.pipelines.get(
        dispatch.kernel,
        dispatch.constants,
        guard && guardFor(dispatch, guard, options),
      ),
      uniformOffset: offsets[index],
    })),
  );
  return new Program({
    device,
    name,
    graph,
    nodes,
    dispatches,
    views: lowered.views,
    plan,
    uniforms,
    states: [...new Set([...lowered.states, ...(options.guard ? [options.guard.state] : [])])],
    guard: options.guard?.state,
  });
}
