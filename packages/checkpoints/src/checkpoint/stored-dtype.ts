import { blockLayouts, type BlockType, formatOfBlocks, isBlockType } from '@forerun/tensor';
import { dtypeBits, type SafetensorsDType } from '../safetensors/dtype.ts';

/** How a tensor's elements are stored in a checkpoint: one by one, or in blocks of a GGUF file. */
export type StoredDType = SafetensorsDType | BlockType;

/** Bits of one element; of blocks, its share. */
export function storedBits(dtype: StoredDType): number {
  if (!isBlockType(dtype)) return dtypeBits[dtype];
  const { bytes, values } = blockLayouts[formatOfBlocks[dtype]];
  return (bytes * 8) / values;
}
