import { blockLayouts, type BlockType, formatOfBlocks, isBlockType } from '@forerun/tensor';

/** Tensor types of GGUF files that are read. */
export type GgufTensorType = 'F32' | 'F16' | 'BF16' | BlockType;

/**
 * Names of the tensor types by their number in the file; the numbers between were given up or never assigned.
 *
 * @see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
const typeNames: Readonly<Record<number, string>> = {
  0: 'F32',
  1: 'F16',
  2: 'Q4_0',
  3: 'Q4_1',
  6: 'Q5_0',
  7: 'Q5_1',
  8: 'Q8_0',
  9: 'Q8_1',
  10: 'Q2_K',
  11: 'Q3_K',
  12: 'Q4_K',
  13: 'Q5_K',
  14: 'Q6_K',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  30: 'BF16',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
};

const floatBytes = { F32: 4, F16: 2, BF16: 2 } as const;

/** What is read, for messages. */
export const supportedTypes: readonly string[] = [...Object.keys(floatBytes), ...Object.keys(formatOfBlocks)];

/** The name of a type's number; undefined for a number that means nothing. */
export function typeName(id: number): string | undefined {
  return typeNames[id];
}

/** Whether tensors of this type are read. */
export function isTensorType(name: string): name is GgufTensorType {
  return Object.hasOwn(floatBytes, name) || isBlockType(name);
}

/** Values of a block and its bytes; a float is a block of its own. */
export function blockSize(type: GgufTensorType): { readonly values: number; readonly bytes: number } {
  if (!isBlockType(type)) return { values: 1, bytes: floatBytes[type] };
  return blockLayouts[formatOfBlocks[type]];
}
