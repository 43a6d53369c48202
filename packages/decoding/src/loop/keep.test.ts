import { loopWords } from '@forerun/contracts';
import { hold, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { startWords } from '../engine/measure.ts';
import { keep, notANumberToken } from './keep.ts';
import { loopLayout, loopStates } from './loop-states.ts';

const device = await testDevice();
const vocabSize = 50;

/** Keeps the path `[0, 1, …]` of a chain of drafts with `next` behind it, on the GPU and in the reference. */
async function keepChain(options: {
  drafts: readonly number[];
  accepted: number;
  next: number;
  words?: Parameters<typeof startWords>[0];
  stops?: readonly number[];
  capacity?: number;
}) {
  const states = loopStates(options.capacity ?? 64, vocabSize);
  const width = options.drafts.length + 1;
  const words = startWords({ length: 5, anchor: 9, budget: 100, ...options.words }, options.stops);
  const result = await hold(device, {
    inputs: {
      tokens: { shape: [width], dtype: 'u32', data: [9, ...options.drafts] },
      path: { shape: [width], dtype: 'u32', data: Array.from({ length: width }, (_, row) => row) },
      used: { shape: [1], dtype: 'u32', data: [width] },
      count: { shape: [1], dtype: 'u32', data: [options.accepted + 1] },
      next: { shape: [1], dtype: 'u32', data: [options.next] },
    },
    body: ({ tokens, path, used, count, next }) => ({
      kept: keep({ width, depth: width - 1, chain: true, tokens, count: used }, { path, count, next }, states),
    }),
    states: new Map([
      [states.loop, words],
      [states.history, new Uint32Array(options.capacity ?? 64).fill(3)],
      [states.sampling.counts, new Uint32Array(2 * vocabSize)],
    ]),
    tolerance: 0,
  });
  const loop = result.states.get(states.loop)!;
  return {
    kept: result.outputs['kept']![0],
    stop: loop[loopWords.stop],
    reason: loop[loopWords.reason],
    length: loop[loopWords.length],
    anchor: loop[loopWords.anchor],
    history: [...result.states.get(states.history)!],
    reached: loop[loopLayout.draftedAtDepth],
    counts: result.states.get(states.sampling.counts)!,
  };
}

describe('keep', () => {
  it('keeps one token of plain decoding', async () => {
    const round = await keepChain({ drafts: [], accepted: 0, next: 7 });
    expect(round).toMatchObject({ kept: 1, stop: 0, length: 6, anchor: 7 });
    expect(round.history[6]).toBe(7);
    expect(round.counts[7]).toBe(1);
  });

  it('keeps accepted drafts and the bonus token', async () => {
    const round = await keepChain({ drafts: [11, 12, 13], accepted: 2, next: 20 });
    expect(round).toMatchObject({ kept: 3, stop: 0, length: 8, anchor: 20, reached: 1 });
    expect(round.history.slice(6, 9)).toEqual([11, 12, 20]);
  });

  it('ends at a stop token inside the accepted block', async () => {
    const round = await keepChain({ drafts: [11, 12, 13], accepted: 3, next: 20, stops: [40, 12] });
    expect(round).toMatchObject({ kept: 2, stop: 1, reason: 1, length: 7, anchor: 12 });
    expect(round.history[8]).toBe(3);
  });

  it('ends when the budget is spent', async () => {
    const round = await keepChain({ drafts: [11, 12, 13], accepted: 3, next: 20, words: { budget: 2 } });
    expect(round).toMatchObject({ kept: 2, stop: 1, reason: 2 });
  });

  it('ends when the history is full', async () => {
    const round = await keepChain({ drafts: [11, 12, 13], accepted: 3, next: 20, capacity: 8 });
    expect(round).toMatchObject({ kept: 2, stop: 1, reason: 3, length: 7 });
  });

  it('keeps nothing where the logits were not numbers', async () => {
    const round = await keepChain({ drafts: [11], accepted: 0, next: notANumberToken });
    expect(round).toMatchObject({ kept: 0, stop: 1, reason: 4, length: 5, anchor: 9 });
  });

  it('takes an impossible count for the whole tree', async () => {
    const round = await keepChain({ drafts: [11, 12], accepted: 60, next: 20 });
    expect(round.kept).toBe(3);
  });
});
