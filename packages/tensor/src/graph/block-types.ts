/**
 * Blocks in which GGUF files hold quantised values: what stands where in a block of the file, and which of it a device keeps.
 * All numbers are little-endian; scales are f16.
 */

/** A block type as GGUF files call it. */
export type BlockType = 'Q4_0' | 'Q4_1' | 'Q5_0' | 'Q5_1' | 'Q8_0' | 'Q4_K' | 'Q5_K' | 'Q6_K';

/** Format of a weight on a device whose rows are blocks. `q8` and `q4` are Q8_0 and Q4_0. */
export type BlockFormat = 'q8' | 'q4' | 'q4_1' | 'q5_0' | 'q5_1' | 'q4_k' | 'q5_k' | 'q6_k';

/** How a block lies in a file, and on a device. */
export interface BlockLayout {
  readonly type: BlockType;
  /** Values of a block. */
  readonly values: number;
  /** Bytes of a block in a file. */
  readonly bytes: number;
  /** u32 words of a block in the codes array: the bytes of the file from `codesBegin` on. */
  readonly words: number;
  readonly codesBegin: number;
  /** Whether the f16 at the block's beginning is kept in the scales array, two in a u32, so that codes lie at whole words. */
  readonly scaled: boolean;
  /** Byte positions of the block's f16 numbers. */
  readonly halves: readonly number[];
}

/** By format on the device. */
export const blockLayouts: Readonly<Record<BlockFormat, BlockLayout>> = {
  q8: { type: 'Q8_0', values: 32, bytes: 34, words: 8, codesBegin: 2, scaled: true, halves: [0] },
  q4: { type: 'Q4_0', values: 32, bytes: 18, words: 4, codesBegin: 2, scaled: true, halves: [0] },
  q4_1: { type: 'Q4_1', values: 32, bytes: 20, words: 5, codesBegin: 0, scaled: false, halves: [0, 2] },
  q5_0: { type: 'Q5_0', values: 32, bytes: 22, words: 5, codesBegin: 2, scaled: true, halves: [0] },
  q5_1: { type: 'Q5_1', values: 32, bytes: 24, words: 6, codesBegin: 0, scaled: false, halves: [0, 2] },
  q4_k: { type: 'Q4_K', values: 256, bytes: 144, words: 36, codesBegin: 0, scaled: false, halves: [0, 2] },
  q5_k: { type: 'Q5_K', values: 256, bytes: 176, words: 44, codesBegin: 0, scaled: false, halves: [0, 2] },
  // 210 bytes: the last word is half filled.
  q6_k: { type: 'Q6_K', values: 256, bytes: 210, words: 53, codesBegin: 0, scaled: false, halves: [208] },
};

/** Format on the device that keeps a block type's numbers as they are. */
export const formatOfBlocks: Readonly<Record<BlockType, BlockFormat>> = {
  Q8_0: 'q8',
  Q4_0: 'q4',
  Q4_1: 'q4_1',
  Q5_0: 'q5_0',
  Q5_1: 'q5_1',
  Q4_K: 'q4_k',
  Q5_K: 'q5_k',
  Q6_K: 'q6_k',
};

/** Whether a name is that of a block type. */
export function isBlockType(name: string): name is BlockType {
  return Object.hasOwn(formatOfBlocks, name);
}

/** Whether rows of a format are blocks. */
export function isBlockFormat(format: string): format is BlockFormat {
  return Object.hasOwn(blockLayouts, format);
}
