/** Folders of golden outputs of speculative decoding, and their checkpoints. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type ByteSource, type Checkpoint, folderSource, openCheckpoint, readHeader } from '@forerun/checkpoints';
import { loadModel, type LoadedModel } from '@forerun/models';
import type { Graph, Tensor, Weight } from '@forerun/tensor';
import type { OwnedWeights } from 'forerun/check';

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

/** What opens heads and adds their weights to `owned`. */
export function owning(owned: OwnedWeights[]) {
  return async <Head extends { readonly weights: readonly Weight[] }>(
    opened: Promise<Checkpoint>,
    make: (checkpoint: Checkpoint) => Head | Promise<Head>,
  ): Promise<Head> => {
    const checkpoint = await opened;
    const head = await make(checkpoint);
    owned.push({ checkpoint, weights: head.weights });
    return head;
  };
}

/** A float tensor of a golden file as a constant of the graph; `rows`: only those. */
export function constant(graph: Graph, { shape, data }: GoldenTensor, rows?: readonly [number, number]): Tensor {
  const [begin, end] = rows ?? [0, shape[0]!];
  const width = data.length / shape[0]!;
  return graph.constant(Float32Array.from(data.subarray(begin * width, end * width)), [end - begin, ...shape.slice(1)]);
}
