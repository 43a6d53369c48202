import { ArgumentError } from '../errors.ts';
import { elementCount } from './dtype.ts';

/**
 * How a weight's values are stored on the device. `q8` and `q4` are blocks of 32 along the last axis with one f16 scale:
 * the codes of GGUF's Q8_0 and Q4_0, held in two arrays (codes, scales).
 */
export type WeightFormat = 'f32' | 'f16' | 'bf16' | 'q8' | 'q4';

/** Values per scale in `q8` and `q4`. */
export const quantBlock = 32;

/** Device bytes of a weight's two arrays, as laid out for one run of rows. */
export interface WeightBytes {
  /** Values (f32, f16, bf16) or codes (q8, q4). */
  readonly codes: number;
  /** f16 scales, two in a u32; 0 for formats without. */
  readonly scales: number;
}

/**
 * A named parameter of a model. This object only declares it; its bytes are placed by the {@link WeightStore} once it is known
 * which operations read it, so that matrices which share an input can lie next to each other.
 */
export class Weight {
  /** Name in the checkpoint. */
  readonly name: string;
  /** `[N, K]` for matrices (N outputs, K inputs), `[D]` for vectors. */
  readonly shape: readonly number[];
  /** Storage format on the device. */
  readonly format: WeightFormat;

  constructor(options: { name: string; shape: readonly number[]; format: WeightFormat }) {
    const { name, shape, format } = options;
    if (shape.length === 0 || shape.some((size) => !Number.isSafeInteger(size) || size < 1)) {
      throw new ArgumentError(
        `Weight "${name}": the shape must have positive integer dimensions, got [${shape.join(', ')}].`,
      );
    }
    this.name = name;
    this.shape = [...shape];
    this.format = format;
  }

  /** Product of all dimensions but the last. */
  get rows(): number {
    return elementCount(this.shape.slice(0, -1));
  }

  /** The last dimension. */
  get width(): number {
    return this.shape.at(-1)!;
  }
}

/** u32 words that one row of `width` values takes in the codes array; rows are padded to whole words, or whole blocks. */
export function rowWords(format: WeightFormat, width: number): number {
  const blocks = Math.ceil(width / quantBlock);
  const words: Record<WeightFormat, number> = {
    f32: width,
    f16: Math.ceil(width / 2),
    bf16: Math.ceil(width / 2),
    q8: blocks * 8,
    q4: blocks * 4,
  };
  return words[format];
}

/** Device bytes of `rows` rows of `width` values in `format`. */
export function weightBytes(format: WeightFormat, rows: number, width: number): WeightBytes {
  const quantised = format === 'q8' || format === 'q4';
  const scaleWords = quantised ? Math.ceil((rows * Math.ceil(width / quantBlock)) / 2) : 0;
  return { codes: rows * rowWords(format, width) * 4, scales: scaleWords * 4 };
}
