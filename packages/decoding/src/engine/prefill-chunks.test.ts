import { describe, expect, it } from 'vitest';
import { nextPass, passesOf } from './prefill-chunks.ts';

describe('the passes of a prompt', () => {
  const cut = (passes: Parameters<typeof nextPass>[0], tokens: number): number[] => {
    const sizes: number[] = [];
    for (let left = tokens; left > 0;) {
      const { tokens: size } = nextPass(passes, left);
      sizes.push(size);
      left -= size;
    }
    return sizes;
  };

  it('are the largest that fit where all cost as much a token, and the smallest at the end', () => {
    const passes = passesOf([16, 128, 32]);
    expect(passes.map(({ tokens }) => tokens)).toEqual([128, 32, 16]);
    expect(cut(passes, 300)).toEqual([128, 128, 32, 16]);
    expect(cut(passes, 5)).toEqual([16]);
  });

  it('are padded where a larger one costs less than the smaller ones that it stands for', () => {
    const passes = [
      { tokens: 512, ms: 96, submits: 2 },
      { tokens: 128, ms: 30, submits: 1 },
      { tokens: 16, ms: 8, submits: 1 },
    ];
    expect(cut(passes, 512)).toEqual([512]);
    expect(cut(passes, 511)).toEqual([512]);
    expect(cut(passes, 127)).toEqual([128]);
    expect(cut(passes, 200)).toEqual([128, 128]);
    expect(cut(passes, 40)).toEqual([16, 16, 16]);
  });
});
