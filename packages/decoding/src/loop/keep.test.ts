import { loopWords } from '@forerun/contracts';
import { hold, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { startWords } from '../engine/measure.ts';
import { roundReport } from '../engine/round-report.ts';
import { loopCounters } from '../engine/statistics.ts';
import { endRound } from './end-round.ts';
import { keep, notANumberToken, type StopTime } from './keep.ts';
import { loopLayout, loopStates } from './loop-states.ts';

const device = await testDevice();
const vocabSize = 50;

/**
 * Keeps a path of drafts with `next` behind it, on the GPU and in the reference: the first `accepted` of a chain, or with `parents`
 * (of all rows, the anchor's first) the rows of `path` in a tree.
 */
async function keepPath(options: {
  drafts: readonly number[];
  accepted: number;
  next: number;
  parents?: readonly number[];
  path?: readonly number[];
  words?: Parameters<typeof startWords>[0];
  stopTokens?: readonly number[];
  capacity?: number;
  stops?: StopTime;
  ends?: boolean;
}) {
  const states = loopStates(options.capacity ?? 64, vocabSize);
  const width = options.drafts.length + 1;
  const words = startWords({ length: 5, anchor: 9, budget: 100, ...options.words }, options.stopTokens);
  const { parents } = options;
  if (parents) words.set(parents, loopLayout.proposalParents);
  const rows = Array.from({ length: width }, (_, row) => options.path?.[row] ?? row);
  const result = await hold(device, {
    inputs: {
      tokens: { shape: [width], dtype: 'u32', data: [9, ...options.drafts] },
      path: { shape: [width], dtype: 'u32', data: rows },
      used: { shape: [1], dtype: 'u32', data: [width] },
      count: { shape: [1], dtype: 'u32', data: [options.accepted + 1] },
      next: { shape: [1], dtype: 'u32', data: [options.next] },
    },
    body: ({ tokens, path, used, count, next }, graph) => {
      // `keep` finds the parents of a tree in the loop state, where the layout of its rows has put them.
      const shape = parents ? { chain: false, parents: graph.constant(Uint32Array.from(parents)) } : { chain: true };
      const tree = { width, depth: width - 1, tokens, count: used, ...shape };
      const kept = keep(tree, { path, count, next }, states, options.stops);
      if (options.ends) endRound(graph, states.loop);
      return { kept };
    },
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
    counters: loopCounters(Uint32Array.from(loop)),
    report: roundReport(Uint32Array.from(loop), undefined),
    counts: result.states.get(states.sampling.counts)!,
  };
}

describe('keep', () => {
  it('keeps one token of plain decoding', async () => {
    const round = await keepPath({ drafts: [], accepted: 0, next: 7 });
    expect(round).toMatchObject({ kept: 1, stop: 0, length: 6, anchor: 7 });
    expect(round.history[6]).toBe(7);
    expect(round.counts[7]).toBe(1);
  });

  it('keeps accepted drafts and the bonus token', async () => {
    const round = await keepPath({ drafts: [11, 12, 13], accepted: 2, next: 20 });
    expect(round).toMatchObject({ kept: 3, stop: 0, length: 8, anchor: 20, reached: 1 });
    expect(round.history.slice(6, 9)).toEqual([11, 12, 20]);
  });

  it('ends at a stop token inside the accepted block', async () => {
    const round = await keepPath({ drafts: [11, 12, 13], accepted: 3, next: 20, stopTokens: [40, 12] });
    expect(round).toMatchObject({ kept: 2, stop: 1, reason: 1, length: 7, anchor: 12 });
    expect(round.history[8]).toBe(3);
  });

  it('ends when the budget is spent', async () => {
    const round = await keepPath({ drafts: [11, 12, 13], accepted: 3, next: 20, words: { budget: 2 } });
    expect(round).toMatchObject({ kept: 2, stop: 1, reason: 2 });
  });

  it('ends when the history is full', async () => {
    const round = await keepPath({ drafts: [11, 12, 13], accepted: 3, next: 20, capacity: 8 });
    expect(round).toMatchObject({ kept: 2, stop: 1, reason: 3, length: 7 });
  });

  it('leaves it to the end of the round to stop, where states have to take in what was kept', async () => {
    const last = { drafts: [11, 12], accepted: 1, next: 20, words: { budget: 2 }, stops: 'at the end' as const };
    expect(await keepPath(last)).toMatchObject({ kept: 2, stop: 0, reason: 2 });
    expect(await keepPath({ ...last, ends: true })).toMatchObject({ kept: 2, stop: 1, reason: 2 });
    expect(await keepPath({ ...last, words: {}, ends: true })).toMatchObject({ kept: 2, stop: 0, reason: 0 });
    expect(await keepPath({ ...last, next: notANumberToken, accepted: 0 })).toMatchObject({ kept: 0, stop: 1 });
  });

  it('keeps nothing where the logits were not numbers', async () => {
    const round = await keepPath({ drafts: [11], accepted: 0, next: notANumberToken });
    expect(round).toMatchObject({ kept: 0, stop: 1, reason: 4, length: 5, anchor: 9 });
  });

  it('counts a depth of a tree only where the row that was reached had drafts under it', async () => {
    const tree = { drafts: [11, 12, 13, 14], parents: [0, 0, 0, 1, 1], next: 20 };
    const leaf = await keepPath({ ...tree, accepted: 1, path: [0, 2] });
    expect(leaf.history.slice(6, 8)).toEqual([12, 20]);
    expect(leaf.counters.acceptanceByDepth).toEqual([1]);
    const refused = await keepPath({ ...tree, accepted: 1, path: [0, 1] });
    expect(refused.counters.acceptanceByDepth).toEqual([1, 0]);
    const deep = await keepPath({ ...tree, accepted: 2, path: [0, 1, 4] });
    expect(deep.counters.acceptanceByDepth).toEqual([1, 1]);
    expect(deep.history.slice(6, 9)).toEqual([11, 14, 20]);
  });

  it('leaves the round to be reported: tree, path, and what the target chose', async () => {
    const tree = { drafts: [11, 12, 13, 14], parents: [0, 0, 0, 1, 1], next: 20 };
    const { report } = await keepPath({ ...tree, accepted: 1, path: [0, 1] });
    expect(report).toMatchObject({ path: [0, 1], next: 20, disagreed: true, times: undefined });
    expect(report.nodes).toEqual([
      { token: 9, parent: -1, depth: 0, accepted: true },
      { token: 11, parent: 0, depth: 1, accepted: true },
      { token: 12, parent: 0, depth: 1, accepted: false },
      { token: 13, parent: 1, depth: 2, accepted: false },
      { token: 14, parent: 1, depth: 2, accepted: false },
    ]);
    expect((await keepPath({ ...tree, accepted: 1, path: [0, 2] })).report.disagreed).toBe(false);
    const chain = await keepPath({ drafts: [11, 12], accepted: 2, next: 20 });
    expect(chain.report).toMatchObject({ path: [0, 1, 2], next: 20, disagreed: false });
    expect(chain.report.nodes.map(({ parent }) => parent)).toEqual([-1, 0, 1]);
    const plain = await keepPath({ drafts: [], accepted: 0, next: 20 });
    expect(plain.report).toMatchObject({ nodes: [{ token: 9, parent: -1 }], path: [0], next: 20, disagreed: false });
  });

  it('takes an impossible count for the whole tree', async () => {
    const round = await keepPath({ drafts: [11, 12], accepted: 60, next: 20 });
    expect(round.kept).toBe(3);
  });
});
