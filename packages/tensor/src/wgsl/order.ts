/**
 * An f32's bits as a u32 that orders as the number does: both zeros are equal, NaN is above everything (`nanKey`), and no number
 * has key 0, which stands for nothing. Integer comparisons are exact on every device, those of floats may flush denormals.
 */
export const orderKeyWgsl = /* wgsl */ `
const nanKey = 0xffffffffu;
fn orderKey(bits: u32) -> u32 {
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return nanKey; }
  if (bits == 0x80000000u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
}`;

/** WGSL expression: the better of two `(key, index)` pairs; the larger key, then the lower index. */
export const betterPairWgsl = 'select(b, a, a.x > b.x || (a.x == b.x && a.y < b.y))';
