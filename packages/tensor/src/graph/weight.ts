import { ArgumentError } from '../errors.ts';
import { type BlockFormat, blockLayouts, isBlockFormat } from './block-types.ts';
import { elementCount } from './dtype.ts';

/**
 * How a weight's values are stored on the device. `q8` and `q4` are blocks of 32 along the last axis with one f16 scale:
 * the codes of GGUF's Q8_0 and Q4_0, held in two arrays (codes, scales). The formats below them are GGUF's further blocks of 32 or
 * 256 (see {@link BlockFormat}); they are read from such blocks only, and their rows are whole blocks.
 */
export type WeightFormat = 'f32' | 'f16' | 'bf16' | BlockFormat;

/** Values per scale in `q8` and `q4`. */
export const quantBlock = 32;

/** Device bytes of a weight's two arrays, as laid out for one run of rows. */
export interface WeightBytes {
  /** Values (f32, f16, bf16), codes (q8, q4, q5_0), or blocks with what scales them. */
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
    if (isBlockFormat(format) && format !== 'q8' && format !== 'q4') {
      const { values } = blockLayouts[format];
      if (shape.at(-1)! % values !== 0) {
        throw new ArgumentError(
          `Weight "${name}": rows of ${format} are whole blocks of ${values} values, got [${shape.join(', ')}].`,
        );
      }
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

/** Blocks of a row of `width` values; the last of `q8` and `q4` is padded. */
export function rowBlocks(format: BlockFormat, width: number): number {
  return Math.ceil(width / blockLayouts[format].values);
}

/** u32 words that one row of `width` values takes in the codes array; rows are padded to whole words, or whole blocks. */
export function rowWords(format: WeightFormat, width: number): number {
  if (!isBlockFormat(format)) return format === 'f32' ? width : Math.ceil(width / 2);
  return rowBlocks(format, width) * blockLayouts[format].words;
}

/** Device bytes of `rows` rows of `width` values in `format`. */
export function weightBytes(format: WeightFormat, rows: number, width: number): WeightBytes {
  const scaled = isBlockFormat(format) && blockLayouts[format].scaled;
  const scaleWords = scaled ? Math.ceil((rows * rowBlocks(format, width)) / 2) : 0;
  return { codes: rows * rowWords(format, width) * 4, scales: scaleWords * 4 };
}
