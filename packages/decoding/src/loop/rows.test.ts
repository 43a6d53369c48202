import { hold, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { startWords } from '../engine/measure.ts';
import { loopLayout, loopStates } from './loop-states.ts';
import { advance, prefillRows } from './prefill-rows.ts';
import { roundHead } from './round-head.ts';
import { treeRows } from './tree-rows.ts';

const device = await testDevice();

describe('rows of a pass', () => {
  for (const width of [1, 7, 64]) {
    it(`lays out a chain of ${width} behind the cache`, async () => {
      const { loop } = loopStates(32, 10);
      const { outputs } = await hold(device, {
        inputs: {},
        body: (_, graph) => ({ ...roundHead(graph, loop, width) }),
        states: new Map([[loop, startWords({ length: 21, anchor: 8 })]]),
        tolerance: 0,
      });
      expect(outputs['positions']!.at(-1)).toBe(21 + width - 1);
    });
  }

  it('takes the prompt a chunk at a time and masks the tail', async () => {
    const { loop, history } = loopStates(40, 10);
    const prompt = Uint32Array.from({ length: 40 }, (_, i) => i + 100);
    for (const [length, left] of [
      [0, 32],
      [30, 5],
      [35, 0],
    ] as const) {
      const { outputs } = await hold(device, {
        inputs: {},
        body: (_, graph) => {
          const rows = prefillRows(graph, { loop, history }, 32);
          advance(loop, rows.count);
          return { ...rows };
        },
        states: new Map([
          [loop, startWords({ length, prefillEnd: 35 })],
          [history, prompt],
        ]),
        tolerance: 0,
      });
      expect(outputs['count']![0]).toBe(left);
      expect(outputs['spans']![0]).toBe(36);
    }
  });

  it('finds the slots of ancestors in a tree, and keeps its parents for reports', async () => {
    const { loop } = loopStates(32, 10);
    const { outputs, states } = await hold(device, {
      inputs: {
        parents: { shape: [6], dtype: 'u32', data: [0, 0, 0, 1, 3, 2] },
        depths: { shape: [6], dtype: 'u32', data: [0, 1, 1, 2, 3, 2] },
        length: { shape: [1], dtype: 'u32', data: [10] },
      },
      body: ({ parents, depths, length }) => ({ ...treeRows({ parents, depths, depth: 3 }, { length, loop }) }),
      states: new Map([[loop, startWords({})]]),
      tolerance: 0,
    });
    expect(Array.from(outputs['path']!.subarray(16, 20))).toEqual([10, 11, 13, 14]);
    expect([...outputs['indexes']!]).toEqual([10, 11, 11, 12, 13, 12]);
    const { proposalParents } = loopLayout;
    expect(Array.from(states.get(loop)!.subarray(proposalParents, proposalParents + 6))).toEqual([0, 0, 0, 1, 3, 2]);
  });
});
