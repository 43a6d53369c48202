/** Element types of activations and states; each takes 4 bytes on the device. */
export type DType = 'f32' | 'u32' | 'i32';

/** Shape and element type of a tensor. */
export interface TensorSpec {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Whether two shapes are equal. */
export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

/** `[2, 3]` as text, for messages. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}

/** Product of all dimensions but the last: how many rows a row-wise operation walks. */
export function rowCount(shape: readonly number[]): number {
  return elementCount(shape.slice(0, -1));
}

/** The last dimension; 1 for a scalar. */
export function rowWidth(shape: readonly number[]): number {
  return shape.at(-1) ?? 1;
}
