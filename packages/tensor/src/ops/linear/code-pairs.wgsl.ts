/** WGSL that decodes words of q4 and q8 as pairs of f16, in the order in which rows are staged: see `stage-rows.wgsl.ts`. */

/** Formats whose blocks of 32 codes kernels take whole. */
export type CodeFormat = 'q4' | 'q8';

/** Decoded in f16, codes are fractions of this. */
export const halfFactor: Readonly<Record<CodeFormat, number>> = { q4: 8, q8: 128 };

// A code in the low mantissa bits of a power of two whose last place is the code's fraction, less that power and the code of zero.
export const codePairs: Readonly<Record<CodeFormat, string>> = {
  q4: /* wgsl */ `
fn lowPair(bits: u32) -> vec2<f16> { return bitcast<vec2<f16>>((bits & 0x000f000fu) | 0x58005800u) - vec2<f16>(129.0h); }
fn highPair(bits: u32) -> vec2<f16> { return fma(bitcast<vec2<f16>>((bits & 0x00f000f0u) | 0x58005800u), vec2<f16>(0.0625h), vec2<f16>(-9.0h)); }`,
  q8: /* wgsl */ `
fn bytePair(bits: u32) -> vec2<f16> { return bitcast<vec2<f16>>(((bits ^ 0x80808080u) & 0x00ff00ffu) | 0x48004800u) - vec2<f16>(9.0h); }`,
};
