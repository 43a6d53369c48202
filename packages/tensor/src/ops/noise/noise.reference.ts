/** Noise in plain TypeScript: the integers equal the device's bit for bit, what follows from them is float64. */

/** What the last counter word tells apart, so that no two kinds of draws share a word. */
export const noiseKind = { gumbel: 0, uniform: 1 } as const;

/** Four words of a counter: (index / 4, position, stream, kind). */
export type Words = readonly [number, number, number, number];

function multiplyHigh(a: number, b: number): number {
  return Number((BigInt(a) * BigInt(b)) >> 32n);
}

/** Philox 4x32-10 of a counter under a key of two words. */
export function philox(counter: Words, seed: readonly [number, number]): Words {
  let [x, y, z, w] = counter;
  let [k0, k1] = seed;
  for (let i = 0; i < 10; i++) {
    const high0 = multiplyHigh(0xd251_1f53, x);
    const high1 = multiplyHigh(0xcd9e_8d57, z);
    [x, y, z, w] = [
      (high1 ^ y ^ k0) >>> 0,
      Math.imul(0xcd9e_8d57, z) >>> 0,
      (high0 ^ w ^ k1) >>> 0,
      Math.imul(0xd251_1f53, x) >>> 0,
    ];
    k0 = (k0 + 0x9e37_79b9) >>> 0;
    k1 = (k1 + 0xbb67_ae85) >>> 0;
  }
  return [x, y, z, w];
}

/** The word of (position, index): a block of Philox serves four indexes. */
export function noiseWord(
  key: { readonly seed: readonly [number, number]; readonly stream: number; readonly kind: number },
  position: number,
  index: number,
): number {
  return philox([index >>> 2, position >>> 0, key.stream, key.kind], key.seed)[index & 3]!;
}

/** A multiple of 2^-24 in [0, 1). */
export function uniformOf(word: number): number {
  return (word >>> 8) / 2 ** 24;
}

/** `-ln(-ln(1 - u))` of u = (word + 1/2) / 2^32: a standard Gumbel value, fine-grained where it is large. */
export function gumbelOf(word: number): number {
  return -Math.log(-Math.log1p(-(word + 0.5) / 2 ** 32));
}
