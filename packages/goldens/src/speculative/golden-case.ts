/** A folder of golden outputs of speculative decoding, and the way to run a piece of graph over its checkpoints on a device. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  type ByteSource,
  type Checkpoint,
  folderSource,
  loadWeights,
  openCheckpoint,
  readHeader,
} from '@forerun/checkpoints';
import type { Rows } from '@forerun/contracts';
import { loadModel, type LoadedModel } from '@forerun/models';
import {
  Commands,
  compile,
  type Device,
  type Graph,
  type HostArray,
  StateBuffers,
  type State,
  type Tensor,
  trace,
  type Weight,
  WeightStore,
  WeightUpload,
} from '@forerun/tensor';

/** A tensor of a golden file. */
export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Uint32Array;
}

/** One folder of `fixtures/speculative`. */
export interface GoldenCase {
  readonly source: ByteSource;
  /** The parsed case.json. */
  readonly facts: Readonly<Record<string, unknown>>;
  tensor(name: string): Promise<GoldenTensor>;
  open(file?: string): Promise<Checkpoint>;
}

/** Opens the case `name`. */
export function goldenCase(name: string): GoldenCase {
  const folder = fileURLToPath(new URL(`../../fixtures/speculative/${name}`, import.meta.url));
  const source = folderSource(folder);
  const file = 'golden.safetensors';
  return {
    source,
    facts: JSON.parse(readFileSync(`${folder}/case.json`, 'utf8')) as Record<string, unknown>,
    async tensor(tensorName) {
      const { entries } = await readHeader(source, file);
      const entry = entries.find((one) => one.name === tensorName)!;
      const buffer = (await source.read(file, entry.begin, entry.end)).slice().buffer;
      return { shape: entry.shape, data: entry.dtype === 'F32' ? new Float32Array(buffer) : new Uint32Array(buffer) };
    },
    open: (checkpointFile) =>
      openCheckpoint(source, { weights: 'f32', ...(checkpointFile && { file: checkpointFile }) }),
  };
}

/** The target that most cases stand on. */
export async function targetLlama(): Promise<LoadedModel & { checkpoint: Checkpoint }> {
  const checkpoint = await goldenCase('target-llama').open();
  return { checkpoint, ...(await loadModel(checkpoint)) };
}

/** Weights and the checkpoint that holds them. */
export interface Owned {
  readonly checkpoint: Checkpoint;
  readonly weights: readonly Weight[];
}

/** Uploads the weights among `wanted` that each checkpoint owns. */
export async function fill(store: WeightStore, owned: readonly Owned[], wanted: readonly Weight[]): Promise<void> {
  for (const { checkpoint, weights } of owned) {
    const own = new Set(weights);
    const some = wanted.filter((weight) => own.has(weight));
    if (some.length > 0) await loadWeights(checkpoint, some, new WeightUpload(store));
  }
}

/** Runs pieces of graph one after the other over the same states. */
export class GraphRunner {
  readonly #device: Device;
  readonly #owned: readonly Owned[];
  readonly #store: WeightStore;
  readonly #buffers: StateBuffers;

  constructor(device: Device, parts: { readonly owned: readonly Owned[]; readonly states?: readonly State[] }) {
    this.#device = device;
    this.#owned = parts.owned;
    this.#store = new WeightStore(device);
    this.#buffers = new StateBuffers(device, parts.states ?? []);
  }

  /** Runs what `body` traces, and reads its outputs. */
  async run(body: (graph: Graph) => Readonly<Record<string, Tensor>>): Promise<Readonly<Record<string, HostArray>>> {
    const graph = trace((traced) => {
      for (const [name, tensor] of Object.entries(body(traced))) traced.output(name, tensor);
    });
    const program = await compile(graph, { device: this.#device, name: 'golden', weights: this.#store });
    await fill(this.#store, this.#owned, this.#store.allocate());
    const commands = new Commands(this.#device).run(program, { states: this.#buffers, bound: 64 });
    const reads = [...graph.outputs.keys()].map(async (name) => [name, await commands.read(program, name)] as const);
    commands.submit();
    const outputs = Object.fromEntries(await Promise.all(reads));
    program.destroy();
    return outputs;
  }

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

/** A float tensor of a golden file as a constant of the graph; `rows`: only those. */
export function constant(graph: Graph, { shape, data }: GoldenTensor, rows?: readonly [number, number]): Tensor {
  const [begin, end] = rows ?? [0, shape[0]!];
  const width = data.length / shape[0]!;
  return graph.constant(Float32Array.from(data.subarray(begin * width, end * width)), [end - begin, ...shape.slice(1)]);
}
