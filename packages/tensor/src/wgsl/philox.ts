/**
 * Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and the two ways in which a word becomes
 * noise. The TypeScript of the same functions, equal in every bit of the integers, is in `ops/noise/noise.reference.ts`.
 */
export const philoxWgsl = /* wgsl */ `
fn multiplyHigh(a: u32, b: u32) -> u32 {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let middle = ah * bl + ((al * bl) >> 16u);
  let other = al * bh + (middle & 0xffffu);
  return ah * bh + (middle >> 16u) + (other >> 16u);
}
fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
  var c = counter;
  var k = seed;
  for (var i = 0u; i < 10u; i++) {
    let high0 = multiplyHigh(0xD2511F53u, c.x);
    let high1 = multiplyHigh(0xCD9E8D57u, c.z);
    c = vec4<u32>(high1 ^ c.y ^ k.x, 0xCD9E8D57u * c.z, high0 ^ c.w ^ k.y, 0xD2511F53u * c.x);
    k += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
  }
  return c;
}
fn uniformOf(word: u32) -> f32 { return f32(word >> 8u) * 5.9604644775390625e-8; }
fn gumbelOf(word: u32) -> f32 {
  let u = (f32(word) + 0.5) * 2.3283064365386963e-10;
  var tail = 0.125;
  for (var n = 7.0; n > 0.5; n -= 1.0) { tail = fma(tail, u, 1.0 / n); }
  let rest = (f32(~word) + 0.5) * 2.3283064365386963e-10;
  return -log(select(-log(rest), u * tail, word < 0x20000000u));
}
`;
