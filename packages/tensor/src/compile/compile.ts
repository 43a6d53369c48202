/**
 * From a traced graph to a program: drop what nothing needs, fuse, let each operation choose its kernels, share scratch memory,
 * and make the pipelines. Each pass is a file of its own and pure; only the last touches the device.
 */
import type { Device } from '../device/device.ts';
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

/** Compiles a traced graph for a device. Pipelines are made asynchronously; equal kernels are shared with all other programs. */
export async function compile(graph: Graph, options: CompileOptions): Promise<Program> {
  const { device, name } = options;
  device.check();
  const weights = options.weights ?? new WeightStore(device);
  const live = liveNodes(graph);
  const nodes = options.fusion === false ? live : fuse(graph, live, { weights });
  const lowered = lower(graph, nodes, { device, weights });
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
