/**
 * Sines and cosines of `position * step` turns without ever forming a large angle: `step` is a 64-bit fixed-point fraction of a turn
 * (high word first), the product keeps its upper 32 fraction bits exactly, and polynomials cover an eighth of a turn to either side.
 * Absolute error below 2e-7 at any position.
 */
export const turnWgsl = /* wgsl */ `
fn multiplyHigh(a: u32, b: u32) -> u32 {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let low = a0 * b0;
  let middle = a1 * b0 + (low >> 16u);
  let carried = a0 * b1 + (middle & 0xffffu);
  return a1 * b1 + (middle >> 16u) + (carried >> 16u);
}
fn cosSin(step: vec2<u32>, position: u32) -> vec2<f32> {
  let turn = step.x * position + multiplyHigh(step.y, position);
  let quarter = (turn + 0x20000000u) >> 30u;
  let x = f32(bitcast<i32>(turn - (quarter << 30u))) * 1.46291807926715968105e-9;
  let xx = x * x;
  let s = fma(x * xx, fma(xx, fma(xx, fma(xx, 2.7557319e-6, -1.98412698e-4), 8.33333333e-3), -0.16666666667), x);
  let c = fma(xx, fma(xx, fma(xx, fma(xx, 2.48015873e-5, -1.38888889e-3), 4.16666667e-2), -0.5), 1.0);
  let swapped = select(vec2<f32>(c, s), vec2<f32>(s, c), (quarter & 1u) == 1u);
  let signs = vec2<f32>(
    select(1.0, -1.0, (quarter & 3u) == 1u || (quarter & 3u) == 2u),
    select(1.0, -1.0, (quarter & 2u) == 2u),
  );
  return swapped * signs;
}`;

/** `[2 * n]` u32 words, high first: each speed in radians per position as a 64-bit fraction of a turn. */
export function turnSteps(radians: Float32Array): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(2 * radians.length);
  radians.forEach((speed, i) => {
    const turns = speed / (2 * Math.PI);
    // Both products are by powers of two, so nothing is rounded here.
    const scaled = (turns - Math.floor(turns)) * 2 ** 32;
    words[2 * i] = Math.floor(scaled);
    words[2 * i + 1] = Math.floor((scaled - Math.floor(scaled)) * 2 ** 32);
  });
  return words;
}
