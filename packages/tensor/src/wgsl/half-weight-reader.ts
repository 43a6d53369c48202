import type { WeightFormat } from '../graph/weight.ts';

/** Formats whose values, or codes, f16 holds exactly. */
type HalfFormat = 'f16' | 'q8' | 'q4';

/** Decodes units that a `WeightReader` loaded into f16, for kernels with `shader-f16`. */
export interface HalfWeightReader {
  /** `halfQuad0(bits)` and, where units have two quads, `halfQuad1(bits)`: `vec4<f16>`. */
  readonly functions: string;
  /**
   * What decoded values must be multiplied by, a power of two. Codes come as fractions in [-1, 1), so that no sum of a unit of 8 values
   * leaves the range of f16 while activations are at most 65504 / 8 = 8188 in magnitude; so with f16 weights of at most 1.
   */
  readonly factor: number;
}

// A code in the low mantissa bits of a power of two whose last place is the code's fraction, less that power and the code of zero.
const readers: Readonly<Record<HalfFormat, HalfWeightReader>> = {
  f16: {
    functions: /* wgsl */ `
fn halfQuad0(bits: vec4<u32>) -> vec4<f16> { return bitcast<vec4<f16>>(bits.xy); }
fn halfQuad1(bits: vec4<u32>) -> vec4<f16> { return bitcast<vec4<f16>>(bits.zw); }`,
    factor: 1,
  },
  q8: {
    functions: /* wgsl */ `
fn halfQuad0(bits: u32) -> vec4<f16> {
  let bytes = bits ^ 0x80808080u;
  let pairs = (vec2<u32>(bytes, bytes >> 8u) & vec2<u32>(0x00ff00ffu)) | vec2<u32>(0x48004800u);
  return bitcast<vec4<f16>>(pairs).xzyw - vec4<f16>(9.0h);
}`,
    factor: 128,
  },
  q4: {
    functions: /* wgsl */ `
fn halfNibbles(low: u32, high: u32) -> vec4<f16> {
  let pairs = (vec2<u32>(low, high) & vec2<u32>(0x000f000fu)) | vec2<u32>(0x58005800u);
  return bitcast<vec4<f16>>(pairs).xzyw - vec4<f16>(129.0h);
}
fn halfQuad0(bits: u32) -> vec4<f16> { return halfNibbles(bits, bits >> 8u); }
fn halfQuad1(bits: u32) -> vec4<f16> { return halfNibbles(bits >> 4u, bits >> 12u); }`,
    factor: 8,
  },
};

/** The reader in f16 of a format; undefined where values may lie outside of f16's range or precision. */
export function halfWeightReader(format: WeightFormat): HalfWeightReader | undefined {
  return (readers as Partial<Record<WeightFormat, HalfWeightReader>>)[format];
}
