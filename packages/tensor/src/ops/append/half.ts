import { float16Bits, float16Value } from '../../graph/float16.ts';

/** Largest finite f16. */
export const halfMax = 65_504;

/** Bits of the f16 nearest to `value`, ties to even; finite magnitudes past {@link halfMax} become it, others NaN. */
export function halfBits(value: number): number {
  if (!Number.isFinite(value)) return 0x7e00;
  return float16Bits(Math.min(Math.max(value, -halfMax), halfMax));
}

/** Two numbers as one u32 word, the first in the low half. */
export const packHalves = (low: number, high: number): number => (halfBits(low) | (halfBits(high) << 16)) >>> 0;

/** Element `index` of an array of packed f16 pairs. */
export const unpackHalf = (words: ArrayLike<number>, index: number): number =>
  float16Value((words[index >> 1]! >>> (16 * (index & 1))) & 0xffff);

/**
 * WGSL `packHalves(vec2<f32>) -> u32` with the same rounding on every device; the builtin may round either way, and so give cached
 * keys that differ between adapters.
 */
export const packHalvesWgsl = /* wgsl */ `
fn halfBits(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let magnitude = min(bits & 0x7fffffffu, 0x477fe000u);
  let shift = select(13u, 13u + 113u - min(magnitude >> 23u, 113u), magnitude < 0x38800000u);
  let mantissa = select(magnitude - 0x38000000u, (magnitude & 0x7fffffu) | 0x800000u, magnitude < 0x38800000u);
  let cut = min(shift, 25u);
  let odd = (mantissa >> cut) & 1u;
  let rounded = (mantissa + (1u << (cut - 1u)) - 1u + odd) >> cut;
  return select(((bits >> 16u) & 0x8000u) | rounded, 0x7e00u, (bits & 0x7fffffffu) >= 0x7f800000u);
}
fn packHalves(value: vec2<f32>) -> u32 { return halfBits(value.x) | (halfBits(value.y) << 16u); }`;
