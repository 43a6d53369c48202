import { describe, expect, it } from 'vitest';
import { float16Bits, float16Value } from '../../graph/float16.ts';
import { randomSource } from '../../harness/index.ts';
import { encodeBlock, quantizeReference } from './convert-weight.reference.ts';

describe.each(['q8', 'q4'] as const)('%s', (format) => {
  const limits = { q8: [-127, 127], q4: [-8, 7] } as const;

  it('is never worse than the usual scale, and on the whole better', () => {
    const random = randomSource(1);
    let [searched, usual] = [0, 0];
    for (let round = 0; round < 400; round++) {
      const block = Array.from({ length: 32 }, () => random.normal() * 0.02);
      const extreme = block.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
      const scale = float16Value(float16Bits(format === 'q8' ? Math.abs(extreme) / 127 : extreme / -8));
      const [error, plain] = [quantizeReference(format, block).error, encodeBlock(block, scale, limits[format]).error];
      expect(error).toBeLessThanOrEqual(plain);
      searched += error;
      usual += plain;
    }
    expect(searched / usual).toBeLessThan(0.9);
  });

  it('is on the whole not beaten by much by the best scale near the one that it chose', () => {
    const random = randomSource(2);
    let [chosen, best] = [0, 0];
    for (let round = 0; round < 40; round++) {
      const block = Array.from({ length: 32 }, () => random.normal() * 0.02);
      const { scale, error } = quantizeReference(format, block);
      const others = Array.from({ length: 801 }, (_, step) => scale * (0.8 + step / 2000));
      chosen += error;
      best += Math.min(...others.map((other) => encodeBlock(block, other, limits[format]).error));
    }
    expect(chosen / best).toBeLessThan(1.25);
  });

  it('keeps values that the format has', () => {
    const random = randomSource(8);
    const [low, high] = limits[format];
    for (let round = 0; round < 50; round++) {
      const scale = float16Value(0x2000 + random.integer(0x1000));
      const block = Array.from(
        { length: 32 },
        (_, i) => scale * (i === 0 ? low : low + random.integer(high - low + 1)),
      );
      expect(quantizeReference(format, block).error).toBe(0);
    }
  });

  it('gives finite scales of f16 for zeros, tiny and huge values', () => {
    for (const fill of [0, 1e-12, 1e-5, 6e4, 1e6, 3e38, -3e38]) {
      const { scale, codes } = quantizeReference(
        format,
        Array.from({ length: 32 }, () => fill),
      );
      expect(scale).toBe(float16Value(float16Bits(scale)));
      expect(Number.isFinite(scale)).toBe(true);
      if (Math.abs(fill) < 1e-6) expect(codes.every((code) => code === 0)).toBe(true);
      if (fill === 6e4) expect(Math.abs(scale * codes[0]! - fill) / fill).toBeLessThan(0.01);
    }
  });
});
