import { type BlockFormat, blockLayouts } from '../../graph/block-types.ts';
import { defineKernel } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { conversionFlags } from './conversion-flags.ts';
import { convertWorkgroup, pieceBindings, pieceUniforms } from './convert-weight.wgsl.ts';

/**
 * Puts the blocks of a GGUF file into their places, bit for bit; item i of the dispatch is one block. Where a block's scale would push
 * its codes off whole words, the scale goes into an array of its own. Scales that are not finite are flagged.
 */
export function copyBlocksKernel(format: BlockFormat) {
  const { scaled } = blockLayouts[format];
  return defineKernel({
    name: `copy-blocks-${format}`,
    bindings: pieceBindings(scaled),
    uniforms: pieceUniforms,
    wgsl: (c: { readonly format: BlockFormat }) => {
      const layout = blockLayouts[c.format];
      const tail = (layout.bytes - layout.codesBegin) % 4;
      return /* wgsl */ `
fn halfAt(byte: u32) -> u32 { return (source[byte >> 2u] >> ((byte & 2u) * 8u)) & 0xffffu; }
@compute @workgroup_size(${convertWorkgroup})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = ${linearWorkgroupWgsl} * ${convertWorkgroup}u + local;
  if (index >= u.items) { return; }
  let item = index + u.firstItem;
  let row = item / u.itemsPerRow;
  let place = u32(i32(row) + u.rowOffset) * u.itemsPerRow + item % u.itemsPerRow;
  let begin = (item - u.firstColumn / ${layout.values}u) * ${layout.bytes}u;
  for (var half = 0u; half < ${layout.halves.length}u; half++) {
    let byte = begin + ${layout.halves[0]}u + half * 2u;
    if ((halfAt(byte) & 0x7c00u) == 0x7c00u) { atomicOr(&flags[u.flag], ${conversionFlags.notFinite}u); }
  }
  for (var word = 0u; word < ${layout.words}u; word++) {
    let byte = begin + ${layout.codesBegin}u + word * 4u;
    codes[place * ${layout.words}u + word] = halfAt(byte)${tail === 0 ? ' | (halfAt(byte + 2u) << 16u)' : ` | select(halfAt(byte + 2u) << 16u, 0u, word == ${layout.words - 1}u)`};
  }
  ${
    scaled
      ? `let shift = (place & 1u) * 16u;
  atomicAnd(&scales[place >> 1u], ~(0xffffu << shift));
  atomicOr(&scales[place >> 1u], halfAt(begin) << shift);`
      : ''
  }
}`;
    },
  });
}
