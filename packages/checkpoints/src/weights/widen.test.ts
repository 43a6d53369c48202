import { describe, expect, test } from 'vitest';
import { widen } from './widen.ts';

describe('widen', () => {
  test('F32, F16 and BF16, also at odd offsets', () => {
    const odd = (bytes: number[]): Uint8Array => Uint8Array.from([9, ...bytes]).subarray(1);
    expect([...widen('F32', odd([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]))]).toEqual([1, -2]);
    expect([...widen('BF16', odd([0x80, 0x3f, 0, 0xc0]))]).toEqual([1, -2]);
    expect([...widen('F16', odd([0, 0x3c, 0, 0xc0, 1, 0]))]).toEqual([1, -2, 2 ** -24]);
  });
});
