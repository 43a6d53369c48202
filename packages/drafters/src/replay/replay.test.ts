import type { Round } from '@forerun/contracts';
import { loopStateWords, loopWords } from '@forerun/contracts';
import { ArgumentError, State } from '@forerun/tensor';
import { hold, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { replay, unrecorded } from './replay.ts';

const device = await testDevice();
const loop = new State({ name: 'loop', shape: [loopStateWords], dtype: 'u32' });
const vocabSize = 5;

async function propose(
  recorded: readonly number[],
  one: { length: number; width: number; corruption?: number; seed?: number },
) {
  const { length, width, ...options } = one;
  const drafter = replay(options);
  const state = drafter.state(recorded.length);
  const words = new Uint32Array(loopStateWords);
  words[loopWords.length] = length;
  const { outputs } = await hold(device, {
    inputs: { anchor: { shape: [1], dtype: 'u32', data: [3] }, length: { shape: [1], dtype: 'u32', data: [length] } },
    body({ anchor, length }) {
      const { tokens, count } = drafter.propose(
        { width, loop, anchor, length, decoder: { vocabSize } } as unknown as Round,
        state,
      );
      return { tokens, count };
    },
    states: new Map<State, ArrayLike<number>>([
      [state.recording, recorded],
      [loop, words],
    ]),
    tolerance: 0,
  });
  expect(outputs.tokens![0]).toBe(3);
  return Array.from(outputs.tokens!.subarray(1, outputs.count![0]));
}

describe('replay', () => {
  const recorded = Array.from({ length: 300 }, (_, i) => (i * 7) % vocabSize);

  it('proposes what was recorded, to the end of the recording', async () => {
    expect(await propose(recorded, { length: 10, width: 8 })).toEqual(recorded.slice(11, 18));
    expect(await propose(recorded, { length: 297, width: 8 })).toEqual(recorded.slice(298));
    expect(await propose([1, 2, unrecorded, 3], { length: 0, width: 4 })).toEqual([2]);
    expect(await propose(recorded, { length: 0, width: 1 })).toEqual([]);
  });

  it('is wrong as often as asked, in the same places whatever the round', async () => {
    let wrong = 0;
    for (let length = 0; length < 256; length += 32) {
      const drafts = await propose(recorded, { length, width: 33, corruption: 0.3, seed: 7 });
      wrong += drafts.filter((token, i) => token !== recorded[length + 1 + i]).length;
      const later = await propose(recorded, { length: length + 5, width: 33, corruption: 0.3, seed: 7 });
      expect(later.slice(0, 27)).toEqual(drafts.slice(5));
    }
    expect(wrong / 256).toBeGreaterThan(0.2);
    expect(wrong / 256).toBeLessThan(0.4);
  });

  it('is always wrong when asked to be', async () => {
    const drafts = await propose(recorded, { length: 0, width: 64, corruption: 1 });
    expect(drafts.every((token, i) => token !== recorded[1 + i] && token < vocabSize)).toBe(true);
  });

  it('refuses what is no probability', () => {
    expect(() => replay({ corruption: 1.5 })).toThrow(ArgumentError);
    expect(() => replay({ seed: -1 })).toThrow(ArgumentError);
  });
});
