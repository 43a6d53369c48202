import { ArgumentError, quantBlock } from '@forerun/tensor';
import { float16Bits, float16Value, roundHalfEven } from './float16.ts';

/** A format of blocks of 32 values with one f16 scale. */
export type QuantFormat = 'q8' | 'q4';

/** Bytes of one block: the scale and 32 codes (the blocks of GGUF's Q8_0 and Q4_0). */
export const quantBlockBytes = { q8: 34, q4: 18 } as const;

interface Coding {
  /** Smallest and largest code. */
  readonly low: number;
  readonly high: number;
  /** Code onto which candidate scales map the value of largest magnitude; the first is the format's usual one. */
  readonly anchors: readonly number[];
}

const codings: Readonly<Record<QuantFormat, Coding>> = {
  // From 127 down by halves: an extreme that is clipped a little leaves the others a finer scale.
  q8: { low: -127, high: 127, anchors: Array.from({ length: 17 }, (_, index) => 127 - index / 2) },
  // Around -8 by eighths: at -7 both signs of an extreme can be met, past -8 it is clipped in favour of the others.
  q4: {
    low: -8,
    high: 7,
    anchors: [-8, ...Array.from({ length: 16 }, (_, index) => -7 - (index + (index >= 8 ? 1 : 0)) / 8)],
  },
};

/** A block before it is packed: `value = scale * code`. */
export interface QuantBlock {
  /** A value of binary16. */
  readonly scale: number;
  /** One code a value, in -127 … 127 (q8) or -8 … 7 (q4). */
  readonly codes: Int8Array;
}

/**
 * Quantises one block of at most 32 values, minimising the squared error `E = Σ (x - scale * code)²` over a fixed set of scales.
 *
 * With m the value of largest magnitude (the first of several), each anchor a of the format gives a start `s = m / a` (for q8 `|m| / a`).
 * Of each start: `code = clamp(round(x / s))`; `t = Σ x code / Σ code²` (the least-squares scale of these codes); `scale = f16(t)`;
 * `code = clamp(round(x / scale))`; then E. Before all of them stands the format's usual choice, `scale = f16(m / a)` of the first
 * anchor without the least-squares step, so that the result is never worse than it. The smallest E wins, the first of equal ones.
 * A start or scale that is 0 or not finite in f16 is passed over; if none is left the block is 0.
 *
 * `round` is to nearest, ties to even; `f16` likewise; all else is float64. A kernel that computes in f32 may choose a neighbouring
 * code at a tie, and must reach the same E within 1e-5 of Σ x².
 */
export function quantizeBlock(format: QuantFormat, values: ArrayLike<number>): QuantBlock {
  const { anchors } = codings[format];
  let extreme = 0;
  for (let index = 0; index < values.length; index++) {
    const value = values[index]!;
    if (!Number.isFinite(value)) {
      throw new ArgumentError(`A weight is ${value}; only finite values can be quantised. The checkpoint is damaged.`);
    }
    if (Math.abs(value) > Math.abs(extreme)) extreme = value;
  }
  if (format === 'q8') extreme = Math.abs(extreme);
  let best: QuantBlock = { scale: 0, codes: new Int8Array(values.length) };
  let bestError = Number.POSITIVE_INFINITY;
  const consider = (wanted: number): void => {
    const scale = float16Value(float16Bits(wanted));
    if (scale === 0 || !Number.isFinite(scale)) return;
    const codes = encode(format, values, scale);
    const error = squaredError(values, codes, scale);
    if (error < bestError) [best, bestError] = [{ scale, codes }, error];
  };
  consider(extreme / anchors[0]!);
  for (const anchor of anchors) {
    const start = extreme / anchor;
    if (start !== 0) consider(leastSquaresScale(values, encode(format, values, start)));
  }
  return best;
}

/**
 * Quantises rows of `width` values into blocks of 32; a row whose width is not a multiple of 32 ends in a block padded with zeros.
 *
 * @param values - `[rows, width]` f32, finite.
 * @param width - Values of a row; all of them by default.
 * @returns `rows * ceil(width / 32)` blocks as {@link packBlock} lays them out.
 */
export function quantize(format: QuantFormat, values: Float32Array, width = values.length): Uint8Array {
  checkRows(values.length, width);
  const blocksPerRow = Math.ceil(width / quantBlock);
  const rows = width === 0 ? 0 : values.length / width;
  const blockBytes = quantBlockBytes[format];
  const bytes = new Uint8Array(rows * blocksPerRow * blockBytes);
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < blocksPerRow; block++) {
      const begin = row * width + block * quantBlock;
      const padded = new Float32Array(quantBlock);
      padded.set(values.subarray(begin, Math.min(begin + quantBlock, (row + 1) * width)));
      packBlock(format, quantizeBlock(format, padded), bytes, (row * blocksPerRow + block) * blockBytes);
    }
  }
  return bytes;
}

/**
 * Values of blocks as `quantize` makes them: `scale * code`.
 *
 * @param bytes - `rows * ceil(width / 32)` blocks.
 * @param width - Values of a row, without padding; 32 per block by default.
 * @returns `[rows, width]` f32.
 */
export function dequantize(format: QuantFormat, bytes: Uint8Array, width?: number): Float32Array {
  const blockBytes = quantBlockBytes[format];
  const blocks = bytes.length / blockBytes;
  const rowWidth = width ?? blocks * quantBlock;
  const blocksPerRow = Math.ceil(rowWidth / quantBlock);
  if (!Number.isInteger(blocks) || (blocksPerRow === 0 ? blocks > 0 : blocks % blocksPerRow !== 0)) {
    throw new ArgumentError(
      `Expected rows of ${blocksPerRow} blocks of ${blockBytes} bytes, got ${bytes.length} bytes.`,
    );
  }
  const rows = blocksPerRow === 0 ? 0 : blocks / blocksPerRow;
  const values = new Float32Array(rows * rowWidth);
  for (let block = 0; block < blocks; block++) {
    const { scale, codes } = unpackBlock(format, bytes, block * blockBytes);
    const first = (block % blocksPerRow) * quantBlock;
    const target = Math.floor(block / blocksPerRow) * rowWidth + first;
    for (let index = 0; index < Math.min(quantBlock, rowWidth - first); index++)
      values[target + index] = scale * codes[index]!;
  }
  return values;
}

/**
 * Writes a block: the scale as two bytes of f16, little-endian, then for q8 each code as a signed byte, for q4 16 bytes of which byte
 * i holds `code + 8` of value i in its low and of value i + 16 in its high nibble.
 */
export function packBlock(format: QuantFormat, block: QuantBlock, bytes: Uint8Array, at: number): void {
  const scale = float16Bits(block.scale);
  bytes[at] = scale & 0xff;
  bytes[at + 1] = scale >> 8;
  if (format === 'q8') {
    for (let index = 0; index < quantBlock; index++) bytes[at + 2 + index] = block.codes[index]! & 0xff;
    return;
  }
  const half = quantBlock / 2;
  for (let index = 0; index < half; index++) {
    bytes[at + 2 + index] = (block.codes[index]! + 8) | ((block.codes[index + half]! + 8) << 4);
  }
}

/** Reads a block that {@link packBlock} wrote. */
export function unpackBlock(format: QuantFormat, bytes: Uint8Array, at: number): QuantBlock {
  const scale = float16Value(bytes[at]! | (bytes[at + 1]! << 8));
  const codes = new Int8Array(quantBlock);
  const half = quantBlock / 2;
  for (let index = 0; index < quantBlock; index++) {
    if (format === 'q8') codes[index] = bytes[at + 2 + index]!;
    else codes[index] = ((bytes[at + 2 + (index % half)]! >> (index < half ? 0 : 4)) & 0xf) - 8;
  }
  return { scale, codes };
}

function encode(format: QuantFormat, values: ArrayLike<number>, scale: number): Int8Array {
  const { low, high } = codings[format];
  const codes = new Int8Array(values.length);
  for (let index = 0; index < values.length; index++) {
    codes[index] = Math.min(high, Math.max(low, roundHalfEven(values[index]! / scale)));
  }
  return codes;
}

function leastSquaresScale(values: ArrayLike<number>, codes: Int8Array): number {
  let products = 0;
  let squares = 0;
  for (let index = 0; index < values.length; index++) {
    products += values[index]! * codes[index]!;
    squares += codes[index]! * codes[index]!;
  }
  return squares === 0 ? 0 : products / squares;
}

function squaredError(values: ArrayLike<number>, codes: Int8Array, scale: number): number {
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += (values[index]! - scale * codes[index]!) ** 2;
  return sum;
}

function checkRows(elements: number, width: number): void {
  if (Number.isSafeInteger(width) && width >= 0 && (width === 0 ? elements === 0 : elements % width === 0)) return;
  throw new ArgumentError(`Expected rows of ${width} values, got ${elements} values.`);
}
