import { describe, expect, test } from 'vitest';
import { float16Bits, float16Value } from './float16.ts';

describe('binary16', () => {
  test('every bit pattern survives a round trip', () => {
    for (let bits = 0; bits < 65536; bits++) {
      const value = float16Value(bits);
      if (Number.isNaN(value)) continue;
      expect(float16Bits(value)).toBe(bits);
    }
    expect(Number.isNaN(float16Value(float16Bits(Number.NaN)))).toBe(true);
  });

  test('ties go to even, also into subnormals and up to infinity', () => {
    const between = (low: number, high: number): number => (float16Value(low) + float16Value(high)) / 2;
    for (const low of [0x0000, 0x0001, 0x03fe, 0x03ff, 0x0400, 0x3c00, 0x3c01, 0x3fff, 0x7bfe]) {
      const even = low % 2 === 0 ? low : low + 1;
      expect(float16Bits(between(low, low + 1))).toBe(even);
      expect(float16Bits(between(low, low + 1) * (1 - 2 ** -40))).toBe(low);
      expect(float16Bits(between(low, low + 1) * (1 + 2 ** -40))).toBe(low + 1);
    }
    expect(float16Bits(65519.99)).toBe(0x7bff);
    expect(float16Bits(65520)).toBe(0x7c00);
    expect(float16Bits(-0)).toBe(0x8000);
    expect(float16Bits(2 ** -30)).toBe(0);
  });
});
