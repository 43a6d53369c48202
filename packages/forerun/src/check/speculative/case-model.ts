/** Checkpoints of cases, and pieces of graph over them on a device. */
import { type ByteSource, type Checkpoint, loadWeights, openCheckpoint } from '@forerun/checkpoints';
import type { Rows } from '@forerun/contracts';
import { loadModel, type LoadedModel } from '@forerun/models';
import {
  Commands,
  compile,
  type Device,
  type Graph,
  type HostArray,
  type State,
  StateBuffers,
  type Tensor,
  trace,
  type Weight,
  WeightStore,
  WeightUpload,
} from '@forerun/tensor';
import type { CaseTensor } from './speculative-case.ts';

/** Weights and the checkpoint that holds them. */
export interface OwnedWeights {
  readonly checkpoint: Checkpoint;
  readonly weights: readonly Weight[];
}

/** A case's model: what loads it, and its weights. */
export type CaseModel = LoadedModel & OwnedWeights;

/** Opens the checkpoint of a case in f32. */
export function caseCheckpoint(source: ByteSource, file?: string): Promise<Checkpoint> {
  return openCheckpoint(source, { weights: 'f32', ...(file ? { file } : {}) });
}

/** Opens the model of a case. */
export async function caseModel(source: ByteSource): Promise<CaseModel> {
  const checkpoint = await caseCheckpoint(source);
  return { checkpoint, ...(await loadModel(checkpoint)) };
}

/** Uploads those of `wanted` that each checkpoint owns. */
export async function fillWeights(
  store: WeightStore,
  owned: readonly OwnedWeights[],
  wanted: readonly Weight[],
): Promise<void> {
  for (const { checkpoint, weights } of owned) {
    const own = new Set(weights);
    const some = wanted.filter((weight) => own.has(weight));
    if (some.length > 0) await loadWeights(checkpoint, some, new WeightUpload(store));
  }
}

/** Runs pieces of graph one after the other over the same states. */
export class CaseGraphs {
  readonly #device: Device;
  readonly #owned: readonly OwnedWeights[];
  readonly #store: WeightStore;
  readonly #buffers: StateBuffers;
  readonly #bound: number;

  /** @param parts - `bound`: most tokens that `states` will hold, 64 by default. */
  constructor(
    device: Device,
    parts: { readonly owned: readonly OwnedWeights[]; readonly states?: readonly State[]; readonly bound?: number },
  ) {
    this.#device = device;
    this.#owned = parts.owned;
    this.#bound = parts.bound ?? 64;
    this.#store = new WeightStore(device);
    this.#buffers = new StateBuffers(device, parts.states ?? []);
  }

  /** Runs what `body` traces, and reads its outputs. */
  async run(body: (graph: Graph) => Readonly<Record<string, Tensor>>): Promise<Readonly<Record<string, HostArray>>> {
    const graph = trace((traced) => {
      for (const [name, tensor] of Object.entries(body(traced))) traced.output(name, tensor);
    });
    const program = await compile(graph, { device: this.#device, name: 'case', weights: this.#store });
    try {
      await fillWeights(this.#store, this.#owned, this.#store.allocate());
      const commands = new Commands(this.#device).run(program, { states: this.#buffers, bound: this.#bound });
      const reads = [...graph.outputs.keys()].map(async (name) => [name, await commands.read(program, name)] as const);
      commands.submit();
      return Object.fromEntries(await Promise.all(reads));
    } finally {
      program.destroy();
    }
  }

  /** Frees states and weights. */
  destroy(): void {
    this.#buffers.destroy();
    this.#store.destroy();
  }
}

/** Rows of a chain that begins at position `start`, all in use. */
export function chainRows(graph: Graph, tokens: ArrayLike<number> | Tensor, start: number): Rows {
  const inputs = 'graph' in tokens ? tokens : graph.constant(Uint32Array.from(tokens));
  const M = inputs.shape[0]!;
  const positions = graph.constant(Uint32Array.from({ length: M }, (_, row) => start + row));
  return {
    inputs,
    positions,
    depths: positions,
    slots: positions,
    spans: graph.constant(Uint32Array.from({ length: M }, (_, row) => start + row + 1)),
    count: graph.constant(Uint32Array.of(M)),
    length: graph.constant(Uint32Array.of(start)),
  };
}

/** A tensor of a case as f32 constant of the graph; `rows`: only the first of them. */
export function caseConstant(graph: Graph, { shape, data }: CaseTensor, rows: number = shape[0]!): Tensor {
  const width = data.length / shape[0]!;
  return graph.constant(Float32Array.from(data.subarray(0, rows * width)), [rows, ...shape.slice(1)]);
}
