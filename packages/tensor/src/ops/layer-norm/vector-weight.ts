import { DTypeError } from '../../errors.ts';
import { expectShape } from '../../graph/expect.ts';
import type { Weight } from '../../graph/weight.ts';

/** @throws ShapeError or DTypeError unless `weight` is a `[width]` vector in f32. */
export function expectVectorWeight(what: string, weight: Weight, width: number): void {
  expectShape(`${what} "${weight.name}"`, weight, [width]);
  if (weight.format !== 'f32') {
    throw new DTypeError(
      `${what} "${weight.name}": expected format f32, got ${weight.format}; vectors are kept in f32.`,
    );
  }
}
