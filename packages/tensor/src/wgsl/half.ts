/**
 * Conversions between f32 bits and 16-bit floats in integer arithmetic: rounded to nearest, ties to even, subnormals kept, on every
 * device alike. The built-in functions may flush subnormals and round either way.
 */
export const halfWgsl = /* wgsl */ `
fn halfFromFloat(bits: u32) -> u32 {
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x38800000u) {
    let rounded = magnitude + 0xfffu + ((magnitude >> 13u) & 1u);
    return sign | min((rounded - 0x38000000u) >> 13u, 0x7c00u);
  }
  let shift = min(126u - (magnitude >> 23u), 25u);
  let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  let quotient = mantissa >> shift;
  let rest = mantissa & ((1u << shift) - 1u);
  let middle = 1u << (shift - 1u);
  return sign | (quotient + select(0u, 1u, rest > middle || (rest == middle && (quotient & 1u) == 1u)));
}
fn floatFromHalf(half: u32) -> u32 {
  let sign = (half & 0x8000u) << 16u;
  let exponent = (half >> 10u) & 0x1fu;
  let mantissa = half & 0x3ffu;
  if (exponent == 0u) { return sign | bitcast<u32>(f32(mantissa) * 5.9604644775390625e-8f); }
  if (exponent == 31u) { return sign | 0x7f800000u | (mantissa << 13u); }
  return sign | ((exponent + 112u) << 23u) | (mantissa << 13u);
}
fn brainFromFloat(bits: u32) -> u32 { return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u; }
`;
