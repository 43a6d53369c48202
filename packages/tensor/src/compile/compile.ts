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
import type { ChoiceTable } from './choices.ts';
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
   * `'f32'` (default), or `'f16'`: `linear` with weights in q8 or q4 (up to 64 rows in f16 too) multiplies in half precision, with sums
   * over more than 32 values still in f32. Faster where hardware packs halves; results are off by about 5e-4 of their norm. Activations
   * beyond 4,000 in magnitude (less if weights in f16 exceed 1) may overflow to infinity. `'i8'`: with weights in q8 or q4 and rows of
   * whole blocks it rounds activations to 8 bits, with a scale for each 32, and multiplies integers; fastest where hardware has packed
   * products, and off by about 5e-3. Weights in other formats, and all other kernels, stay in f32. Kernels of these arithmetics have
   * `arithmetic-f16-` or `arithmetic-i8-` in their names.
   */
  readonly arithmetic?: Arithmetic;
  /** Which of several kernels of the same bits is fastest here: asked, and made to measure what it does not know yet. */
  readonly choices?: ChoiceTable;
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

/** What each arithmetic needs of a device, in words, and whether it is there. */
const needs: Readonly<Record<Arithmetic, { readonly named: string; readonly met: (device: Device) => boolean }>> = {
  f32: { named: 'nothing', met: () => true },
  f16: { named: 'the WebGPU feature "shader-f16"', met: (device) => device.has('shader-f16') },
  i8: {
    named: 'the WGSL language feature "packed_4x8_integer_dot_product"',
    met: (device) => device.hasLanguage('packed_4x8_integer_dot_product'),
  },
};

/** The arithmetic asked for, if the device can do it. */
function checkedArithmetic({ device, name, arithmetic = 'f32' }: CompileOptions): Arithmetic {
  if (!Object.hasOwn(needs, arithmetic)) {
    throw new ArgumentError(`Compiling ${name}: arithmetic must be 'f32', 'f16' or 'i8', got ${String(arithmetic)}.`);
  }
  if (!needs[arithmetic].met(device)) {
    throw new MissingFeatureError(
      `Compiling ${name} with arithmetic '${arithmetic}' needs ${needs[arithmetic].named}, which ${device.adapter.description || 'this device'} does not offer or was not asked for. Leave arithmetic at 'f32', or ask for a device that has the feature, without limits: 'portable'.`,
    );
  }
  return arithmetic;
}

/**
 * Compiles a traced graph for a device. Pipelines are made asynchronously; equal kernels are shared with all other programs.
 * @throws {@link MissingFeatureError} where the device lacks what `arithmetic` needs: `shader-f16` for f16, the language feature
 *   `packed_4x8_integer_dot_product` for i8.
 */
export async function compile(graph: Graph, options: CompileOptions): Promise<Program> {
  const { device, name } = options;
  device.check();
  const arithmetic = checkedArithmetic(options);
  const weights = options.weights ?? new WeightStore(device);
  const live = liveNodes(graph);
  const nodes = options.fusion === false ? live : fuse(graph, live, { weights });
  const lowerNodes = () => lower(graph, nodes, { device, weights, arithmetic, choices: options.choices });
  let lowered = lowerNodes();
  // One answer may raise the next question.
  while (await options.choices?.measure()) lowered = lowerNodes();
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
