import { describe, expect, it } from 'vitest';
import { WidthPolicy } from './width-policy.ts';

/** Plays rounds in which each draft is accepted with chance `acceptance`; returns tokens per ms and the share of plain rounds. */
function play(acceptance: number, roundMs: ReadonlyMap<number, number>, rounds = 3000) {
  const policy = new WidthPolicy();
  let [tokens, ms, plain] = [0, 0, 0];
  let noise = 12345;
  const uniform = () => (noise = (Math.imul(noise, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  for (let round = 0; round < rounds; round++) {
    const width = policy.choose({ roundMs });
    let accepted = 0;
    while (accepted < width - 1 && uniform() < acceptance) accepted++;
    policy.observe(width, accepted);
    tokens += accepted + 1;
    ms += roundMs.get(width)!;
    if (width === 1) plain++;
  }
  return { rate: tokens / ms, plainShare: plain / rounds };
}

const cheap = new Map([
  [1, 1],
  [2, 1.05],
  [4, 1.15],
  [8, 1.4],
]);

describe('WidthPolicy', () => {
  it('goes wide where drafts are accepted', () => {
    expect(play(0.9, cheap).rate).toBeGreaterThan(3);
  });

  it('loses at most 3 % to plain decoding where nothing is accepted', () => {
    const outcome = play(0, cheap);
    expect(outcome.plainShare).toBeGreaterThan(0.95);
    expect(outcome.rate).toBeGreaterThan(0.97);
  });

  it('never goes wide where rows cost as much as steps', () => {
    const dear = new Map([...cheap.keys()].map((width) => [width, width] as const));
    expect(play(0.6, dear).rate).toBeGreaterThan(0.97);
  });

  it('has the drafter take in plain rounds before it is tried again, and while it was never tried', () => {
    const policy = new WidthPolicy();
    expect(policy.choose({ roundMs: new Map([[1, 1]]) })).toBe(1);
    expect(policy.near).toBe(true);
    const dear = new Map([...cheap.keys()].map((width) => [width, 2 * width - 1] as const));
    const fed: boolean[] = [];
    let width = 1;
    while ((width = policy.choose({ roundMs: dear })) === 1) fed.push(policy.near);
    expect(width).toBe(2);
    expect(fed.length).toBeGreaterThan(50);
    expect(fed.indexOf(true)).toBe(fed.length - 6);
    expect(fed.slice(-6)).toEqual(Array.from({ length: 6 }, () => true));
  });

  it('decodes plainly while nothing else is compiled', () => {
    expect(new WidthPolicy().choose({ roundMs: new Map([[1, 1]]) })).toBe(1);
  });
});
