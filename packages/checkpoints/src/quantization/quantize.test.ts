import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../test/write-safetensors.ts';
import { float16Bits, float16Value, roundHalfEven } from './float16.ts';
import {
  dequantize,
  packBlock,
  quantBlockBytes,
  quantize,
  quantizeBlock,
  unpackBlock,
  type QuantFormat,
} from './quantize.ts';
import { widen } from './widen.ts';

const formats: readonly QuantFormat[] = ['q8', 'q4'];

function normalValues(count: number, seed: number): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()) * 0.02,
  );
}

const squaredError = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, value, index) => sum + (value - b[index]!) ** 2, 0);

/** The formats' usual quantisation: scale of the extreme value, no search. */
function plain(format: QuantFormat, block: Float32Array): number[] {
  const extreme = block.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  const scale = float16Value(float16Bits(format === 'q8' ? Math.abs(extreme) / 127 : extreme / -8));
  const [low, high] = format === 'q8' ? [-127, 127] : [-8, 7];
  return Array.from(
    block,
    (value) => scale * Math.min(high, Math.max(low, scale === 0 ? 0 : roundHalfEven(value / scale))),
  );
}

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

describe('widen', () => {
  test('F32, F16 and BF16, also at odd offsets', () => {
    const odd = (bytes: number[]): Uint8Array => Uint8Array.from([9, ...bytes]).subarray(1);
    expect([...widen('F32', odd([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]))]).toEqual([1, -2]);
    expect([...widen('BF16', odd([0x80, 0x3f, 0, 0xc0]))]).toEqual([1, -2]);
    expect([...widen('F16', odd([0, 0x3c, 0, 0xc0, 1, 0]))]).toEqual([1, -2, 2 ** -24]);
  });
});

describe.each(formats)('%s', (format) => {
  test('never worse than the plain scale, and on the whole better', () => {
    let searched = 0;
    let usual = 0;
    for (let seed = 0; seed < 400; seed++) {
      const block = normalValues(32, seed);
      const { scale, codes } = quantizeBlock(format, block);
      const error = squaredError(
        block,
        Array.from(codes, (code) => code * scale),
      );
      const plainError = squaredError(block, plain(format, block));
      expect(error).toBeLessThanOrEqual(plainError);
      searched += error;
      usual += plainError;
    }
    expect(searched / usual).toBeLessThan(format === 'q4' ? 0.9 : 0.8);
  });

  test('no scale near the chosen one does better with its own codes by much', () => {
    for (let seed = 0; seed < 40; seed++) {
      const block = normalValues(32, seed);
      const { scale, codes } = quantizeBlock(format, block);
      const error = squaredError(
        block,
        Array.from(codes, (code) => code * scale),
      );
      const [low, high] = format === 'q8' ? [-127, 127] : [-8, 7];
      let best = error;
      for (let step = -400; step <= 400; step++) {
        const other = scale * (1 + step / 2000);
        best = Math.min(
          best,
          squaredError(
            block,
            Array.from(block, (x) => other * Math.min(high, Math.max(low, roundHalfEven(x / other)))),
          ),
        );
      }
      expect(error).toBeLessThan(best * 1.25);
    }
  });

  test('packed and unpacked blocks are the same; quantising is deterministic', () => {
    const values = normalValues(32 * 50, 3);
    const bytes = quantize(format, values);
    expect(bytes.length).toBe(50 * quantBlockBytes[format]);
    expect(quantize(format, values)).toEqual(bytes);
    const back = dequantize(format, bytes);
    for (let block = 0; block < 50; block++) {
      const expected = quantizeBlock(format, values.subarray(block * 32, block * 32 + 32));
      expect(unpackBlock(format, bytes, block * quantBlockBytes[format])).toEqual(expected);
      for (let index = 0; index < 32; index++)
        expect(back[block * 32 + index]).toBe(Math.fround(expected.scale * expected.codes[index]!));
    }
  });

  test('values that the format has are kept exactly', () => {
    const random = seededRandom(8);
    const [low, high] = format === 'q8' ? [-127, 127] : [-8, 7];
    for (let round = 0; round < 50; round++) {
      const scale = float16Value(0x2000 + Math.floor(random() * 0x1000));
      const codes = Int8Array.from({ length: 32 }, () => low + Math.floor(random() * (high - low + 1)));
      codes[0] = low;
      const bytes = new Uint8Array(quantBlockBytes[format]);
      packBlock(format, { scale, codes }, bytes, 0);
      const values = dequantize(format, bytes);
      expect(dequantize(format, quantize(format, values))).toEqual(values);
    }
  });

  test('rows that are not whole blocks are padded, and come back without padding', () => {
    const values = normalValues(3 * 45, 5);
    const bytes = quantize(format, values, 45);
    expect(bytes.length).toBe(3 * 2 * quantBlockBytes[format]);
    const back = dequantize(format, bytes, 45);
    expect(back.length).toBe(values.length);
    expect(Math.sqrt(squaredError(values, back) / squaredError(values, new Float32Array(values.length)))).toBeLessThan(
      format === 'q8' ? 0.01 : 0.12,
    );
    expect(quantize(format, new Float32Array(0))).toEqual(new Uint8Array(0));
    expect(dequantize(format, new Uint8Array(0))).toEqual(new Float32Array(0));
  });

  test('zeros, tiny and huge values: finite scales, no NaN', () => {
    for (const fill of [0, 1e-12, 1e-5, 6e4, 1e6, 3e38, -3e38]) {
      const block = new Float32Array(32).fill(fill);
      const { scale, codes } = quantizeBlock(format, block);
      expect(Number.isFinite(scale)).toBe(true);
      expect(scale).toBe(float16Value(float16Bits(scale)));
      if (Math.abs(fill) < 1e-6) expect([...codes]).toEqual(Array.from({ length: 32 }, () => 0));
      if (Math.abs(fill) === 6e4) expect(Math.abs(scale * codes[0]! - fill) / 6e4).toBeLessThan(0.01);
    }
  });
});

test('the bytes of a block: scale first, q4 nibbles i and i + 16', () => {
  const codes = Int8Array.from({ length: 32 }, (_, index) => (index % 16) - 8);
  const q4 = new Uint8Array(18);
  packBlock('q4', { scale: 1, codes }, q4, 0);
  expect([...q4]).toEqual([0x00, 0x3c, ...Array.from({ length: 16 }, (_, index) => index * 17)]);
  codes[16] = 7;
  packBlock('q4', { scale: 1, codes }, q4, 0);
  expect(q4[2]).toBe(0xf0);
  const q8 = new Uint8Array(34);
  packBlock('q8', { scale: -2, codes }, q8, 0);
  expect([...q8.subarray(0, 5)]).toEqual([0x00, 0xc0, 0xf8, 0xf9, 0xfa]);
});
