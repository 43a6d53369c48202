import { blockLayouts, isBlockFormat } from '../../graph/block-types.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { rowBlocks, rowWords } from '../../graph/weight.ts';
import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, readWrite } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { halfWgsl } from '../../wgsl/half.ts';
import { conversionFlags } from './conversion-flags.ts';
import { quantizeWgsl } from './quantize.wgsl.ts';

/** Dtypes that weights are converted from, as checkpoints name them. */
export type SourceDType = 'F32' | 'F16' | 'BF16';

/** Invocations of a workgroup. */
export const convertWorkgroup = 64;

/** Values that one invocation writes: those of a word, or of a block. */
export function valuesPerItem(format: WeightFormat): number {
  if (isBlockFormat(format)) return blockLayouts[format].values;
  return format === 'f32' ? 1 : 2;
}

const bitsOf: Readonly<Record<SourceDType, string>> = {
  F32: 'return source[i];',
  F16: 'return floatFromHalf((source[i >> 1u] >> ((i & 1u) * 16u)) & 0xffffu);',
  BF16: 'return ((source[i >> 1u] >> ((i & 1u) * 16u)) & 0xffffu) << 16u;',
};

/** Formats that other values are converted into; GGUF's other blocks are only ever copied. */
export type ConvertedFormat = 'f32' | 'f16' | 'bf16' | 'q8' | 'q4';

/** How a word or block of each format is made from the values that begin at `k` of row `row` of the piece. */
const bodies: Readonly<Record<ConvertedFormat, string>> = {
  f32: 'codes[place] = value(row, k);',
  f16: 'codes[place] = half(value(row, k)) | (half(value(row, k + 1u)) << 16u);',
  bf16: 'codes[place] = brain(value(row, k)) | (brain(value(row, k + 1u)) << 16u);',
  q8: 'quantize(row, k, place);',
  q4: 'quantize(row, k, place);',
};

export interface ConvertConstants {
  readonly source: SourceDType;
  readonly format: ConvertedFormat;
}

/** What a kernel that writes a piece of a weight binds; scales that lie beside the codes are halves, two to a word. */
export const pieceBindings = (scaled: boolean): Record<string, Binding> => ({
  source: read('u32'),
  codes: readWrite('u32'),
  flags: readWrite('atomic<u32>'),
  ...(scaled ? { scales: readWrite('atomic<u32>') } : {}),
});

/** Where a piece lies in its weight, and which of its items a dispatch writes. */
export const pieceUniforms = {
  width: 'u32',
  firstItem: 'u32',
  items: 'u32',
  itemsPerRow: 'u32',
  firstColumn: 'u32',
  rowOffset: 'i32',
  flag: 'u32',
} as const;

/**
 * Writes a piece of a weight in its format. Item i of the dispatch is one word or block; rows are counted from the piece's first row,
 * in which the piece begins at value `firstColumn`.
 */
export function convertKernel(format: ConvertedFormat) {
  const quantised = format === 'q8' || format === 'q4';
  return defineKernel({
    name: `convert-weight-${format}`,
    bindings: pieceBindings(quantised),
    uniforms: pieceUniforms,
    wgsl: (c: ConvertConstants) => /* wgsl */ `
${halfWgsl}
fn fail(reason: u32) { atomicOr(&flags[u.flag], reason); }
fn bitsAt(i: u32) -> u32 { ${bitsOf[c.source]} }
fn value(row: u32, k: u32) -> u32 {
  if (k >= u.width) { return 0u; }
  let bits = bitsAt(row * u.width + k - u.firstColumn);
  if ((bits & 0x7f800000u) == 0x7f800000u) {
    fail(${conversionFlags.notFinite}u);
    return 0u;
  }
  return bits;
}
fn half(bits: u32) -> u32 {
  let result = halfFromFloat(bits);
  if ((result & 0x7c00u) == 0x7c00u) { fail(${conversionFlags.tooLarge}u); }
  return result;
}
fn brain(bits: u32) -> u32 {
  let result = brainFromFloat(bits);
  if ((result & 0x7f80u) == 0x7f80u) { fail(${conversionFlags.tooLarge}u); }
  return result;
}
${quantised ? quantizeWgsl(c.format) : ''}
@compute @workgroup_size(${convertWorkgroup})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = ${linearWorkgroupWgsl} * ${convertWorkgroup}u + local;
  if (index >= u.items) { return; }
  let item = index + u.firstItem;
  let row = item / u.itemsPerRow;
  let k = (item % u.itemsPerRow) * ${valuesPerItem(c.format)}u;
  let place = u32(i32(row) + u.rowOffset) * u.itemsPerRow + item % u.itemsPerRow;
  ${bodies[c.format]}
}`,
  });
}

/** Items (words, or blocks) of a row. */
export function itemsPerRow(format: WeightFormat, width: number): number {
  return isBlockFormat(format) ? rowBlocks(format, width) : rowWords(format, width);
}
