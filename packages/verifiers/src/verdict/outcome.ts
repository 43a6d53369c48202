/** What every operation that judges a tree gives: the accepted path, padded with zeros, its rows, and the token behind it. */
import type { BufferView, Lowering, NdArray, Tensor, TensorSpec } from '@forerun/tensor';
import { u32Array, u32Vectors, write } from '@forerun/tensor';

/** Specs of path, count and next for a tree of `width` rows. */
export function outcomeSpecs(width: number): TensorSpec[] {
  return u32Vectors(width, 1, 1);
}

/** Path, count and next from a reference. */
export function outcomeArrays(path: readonly number[], width: number, next: number): NdArray[] {
  const padded = Array.from({ length: width }, (_, i) => path[i] ?? 0);
  return [u32Array(padded), u32Array([path.length]), u32Array([next])];
}

/** Path, count and next as bindings of a kernel. */
export const outcomeBindings = { path: write('u32'), count: write('u32'), next: write('u32') };

/** The outputs of an operation for {@link outcomeBindings}. */
export function boundOutcome(
  lowering: Lowering,
  outputs: readonly Tensor[],
): Readonly<Record<keyof typeof outcomeBindings, BufferView>> {
  const [path, count, next] = outputs.map((output) => lowering.tensor(output)) as [BufferView, BufferView, BufferView];
  return { path, count, next };
}
