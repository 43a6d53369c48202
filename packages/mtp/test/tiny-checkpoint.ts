/** Tiny random checkpoints, and the arithmetic of plain loops that heads over them are held to. */
import { Checkpoint, type CheckpointTensor, memorySource } from '@forerun/checkpoints';
import { embedding, linear, Weight } from '@forerun/tensor';
import { randomSource } from '@forerun/tensor/harness';
import type { HeadTarget } from '../src/index.ts';

/** Values of tensors by name. */
export type Values = ReadonlyMap<string, Float64Array>;
/** A row. */
export type Vector = readonly number[];

/** Sizes of the target and its heads: vocabulary, hidden size, mlp, layers. */
export const [V, D, F, L] = [20, 8, 12, 6];
/** `[V, D]` of the target. */
export const embedTokens = new Weight({ name: 'target embedding', shape: [V, D], format: 'f32' });
/** `[V, D]` of the target. */
export const lmHead = new Weight({ name: 'target head', shape: [V, D], format: 'f32' });
/** What heads use of the target. */
export const target: HeadTarget = {
  vocabSize: V,
  hiddenSize: D,
  layerCount: L,
  embed: (tokens) => embedding(embedTokens, tokens),
  head: (normed) => linear(normed, lmHead),
};

/** A checkpoint of random f32 tensors; `d2t` comes as I64 offsets. */
export function checkpoint(
  config: object,
  shapes: Readonly<Record<string, readonly number[]>>,
  d2t?: readonly number[],
): { checkpoint: Checkpoint; values: Values } {
  const random = randomSource(7);
  const values = new Map(
    Object.entries(shapes).map(([name, shape]) => [
      name,
      Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Math.fround(random.normal() * 0.5)),
    ]),
  );
  const tensors = new Map<string, CheckpointTensor>();
  for (const [name, shape] of Object.entries(shapes))
    tensors.set(name, { name, dtype: 'F32', shape, file: 'model.safetensors', begin: 0, end: 0 });
  if (d2t)
    tensors.set('d2t', { name: 'd2t', dtype: 'I64', shape: [d2t.length], file: 'd2t', begin: 0, end: 8 * d2t.length });
  const files = new Map([['config.json', new TextEncoder().encode(JSON.stringify(config))]]);
  if (d2t) files.set('d2t', new Uint8Array(BigInt64Array.from(d2t.map(BigInt)).buffer));
  return {
    values,
    checkpoint: new Checkpoint({
      source: memorySource(files),
      tensors,
      files: ['model.safetensors'],
      metadata: new Map(),
      policy: 'f32',
    }),
  };
}

/** The target's own weights. */
export const targetValues: Values = (() => {
  const random = randomSource(3);
  const draw = () => Float64Array.from({ length: V * D }, () => Math.fround(random.normal()));
  return new Map([
    [embedTokens.name, draw()],
    [lmHead.name, draw()],
  ]);
})();

/** Values of weights of a head and the target, for `hold`. */
export function weightValues(weights: readonly Weight[], values: Values): Map<Weight, Float64Array> {
  const all = new Map([...values, ...targetValues]);
  return new Map([...weights, embedTokens, lmHead].map((weight) => [weight, all.get(weight.name)!]));
}

/** Matrix times row. */
export const times = (matrix: Float64Array, x: Vector): number[] =>
  Array.from({ length: matrix.length / x.length }, (_, row) =>
    x.reduce((sum, value, i) => sum + value * matrix[row * x.length + i]!, 0),
  );
/** Sum of rows. */
export const add = (a: Vector, b: Vector): number[] => a.map((value, i) => value + b[i]!);
/** `x * sigmoid(x)`. */
export const silu = (x: number): number => x / (1 + Math.exp(-x));
/** Root-mean-square norm. */
export const norm = (x: Vector, w: Float64Array): number[] => {
  const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value ** 2, 0) / x.length + 1e-5);
  return x.map((value, i) => value * scale * w[i]!);
};
