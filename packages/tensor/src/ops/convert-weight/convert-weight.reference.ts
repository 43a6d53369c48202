import { float16Bits, float16Value, roundHalfEven } from '../../graph/float16.ts';
import { quantBlock } from '../../graph/weight.ts';
import type { ConvertedFormat } from './convert-weight.wgsl.ts';

const scratch = new DataView(new ArrayBuffer(8));

/** `value` rounded to a binary float of `mantissa` explicit bits and a least normal exponent of `lowest`, ties to even. */
export function roundFloat(value: number, { mantissa, lowest }: { mantissa: number; lowest: number }): number {
  if (value === 0 || !Number.isFinite(value)) return value;
  scratch.setFloat64(0, Math.abs(value));
  const exponent = Math.max((scratch.getUint16(0) >> 4) - 1023, lowest);
  const step = 2 ** (exponent - mantissa);
  return Math.sign(value) * roundHalfEven(Math.abs(value) / step) * step;
}

const half = { mantissa: 10, lowest: -14 };
const brain = { mantissa: 7, lowest: -126 };

interface Block {
  readonly scale: number;
  readonly codes: readonly number[];
  readonly error: number;
}

/** Codes of a block at a scale, within `limits`, and the squared error that they leave. */
export function encodeBlock(values: readonly number[], scale: number, [low, high]: readonly [number, number]): Block {
  const codes = values.map((value) => Math.min(high, Math.max(low, roundHalfEven(value / scale))));
  return { scale, codes, error: values.reduce((sum, value, i) => sum + (value - scale * codes[i]!) ** 2, 0) };
}

/**
 * A block in `q8` or `q4`: of a fixed set of starts, each refined by least squares over its own codes and rounded to f16, the one with
 * the smallest squared error; the usual scale stands first, unrefined.
 */
export function quantizeReference(format: 'q8' | 'q4', values: readonly number[]): Block {
  const limits: readonly [number, number] = format === 'q8' ? [-127, 127] : [-8, 7];
  const anchors =
    format === 'q8'
      ? [127, 126.5, 126, 125.5, 125]
      : [-8, ...Array.from({ length: 17 }, (_, i) => -7 - i / 8).filter((a) => a !== -8)];
  const extreme = values.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  const against = format === 'q8' ? Math.abs(extreme) : extreme;
  const refined = anchors.map((anchor) => {
    const { codes } = encodeBlock(values, against / anchor, limits);
    const squares = codes.reduce((sum, code) => sum + code * code, 0);
    return codes.reduce((sum, code, i) => sum + code * values[i]!, 0) / squares;
  });
  const candidates = [against / anchors[0]!, ...refined]
    .map((scale) => float16Value(float16Bits(scale)))
    .filter((scale) => scale !== 0 && Number.isFinite(scale))
    .map((scale) => encodeBlock(values, scale, limits));
  const nothing = {
    scale: 0,
    codes: values.map(() => 0),
    error: values.reduce((sum, value) => sum + value * value, 0),
  };
  return candidates.reduce(
    (best, candidate) => (candidate.error < best.error ? candidate : best),
    candidates[0] ?? nothing,
  );
}

/** Values as they come out of a weight of this format: rows of `width` are rounded, or quantised in blocks of 32. */
export function convertReference(format: ConvertedFormat, values: ArrayLike<number>, width: number): Float64Array {
  if (format === 'f32') return Float64Array.from(values);
  if (format === 'f16' || format === 'bf16') {
    return Float64Array.from(values, (value) => roundFloat(value, format === 'f16' ? half : brain));
  }
  const out = new Float64Array(values.length);
  for (let row = 0; row < values.length; row += width) {
    for (let k = 0; k < width; k += quantBlock) {
      const block = Array.from({ length: Math.min(quantBlock, width - k) }, (_, i) => values[row + k + i]!);
      const { scale, codes } = quantizeReference(format, block);
      codes.forEach((code, i) => (out[row + k + i] = code * scale));
    }
  }
  return out;
}
