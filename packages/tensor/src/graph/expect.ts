/** Checks that operations make on their operands; each error says what was expected, what came, and what to do. */
import { ArgumentError, DTypeError, ShapeError } from '../errors.ts';
import type { DType } from './dtype.ts';
import { sameShape, shapeText } from './dtype.ts';

/** What the checks look at: a tensor or a state. */
interface Shaped {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** @throws {@link DTypeError} unless `value` has one of `dtypes`. `what` names the operation and the operand. */
export function expectDType(what: string, value: Shaped, dtypes: readonly DType[]): void {
  if (!dtypes.includes(value.dtype)) {
    throw new DTypeError(
      `${what}: expected ${dtypes.join(' or ')}, got ${value.dtype}; convert it with .to('${dtypes[0]}').`,
    );
  }
}

/** @throws {@link ShapeError} unless `value` has exactly this shape. */
export function expectShape(
  what: string,
  value: { readonly shape: readonly number[] },
  shape: readonly number[],
): void {
  if (!sameShape(value.shape, shape)) {
    throw new ShapeError(`${what}: expected shape ${shapeText(shape)}, got ${shapeText(value.shape)}.`);
  }
}

/** @throws {@link ShapeError} unless `value` has at least `rank` dimensions, none of them 0. */
export function expectRank(what: string, value: { readonly shape: readonly number[] }, rank: number): void {
  if (value.shape.length < rank || value.shape.some((size) => size < 1)) {
    throw new ShapeError(
      `${what}: expected ${rank} or more dimensions, none of them 0, got ${shapeText(value.shape)}; reshape it first.`,
    );
  }
}

/** @throws {@link ArgumentError} unless `value` is an integer in `[low, high]`. */
export function expectInteger(what: string, value: number, [low, high]: readonly [number, number]): void {
  if (!Number.isSafeInteger(value) || value < low || value > high) {
    throw new ArgumentError(`${what}: expected an integer from ${low} to ${high}, got ${value}.`);
  }
}

/** @throws {@link ArgumentError} unless `value` is finite and not negative. */
export function expectEpsilon(what: string, value: number): void {
  if (!Number.isFinite(value) || value < 0) {
    throw new ArgumentError(`${what}: expected a finite epsilon >= 0, got ${value}; the checkpoint's config has it.`);
  }
}
