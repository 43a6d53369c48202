import type { Round } from '@forerun/contracts';
import { loopStateWords, loopWords } from '@forerun/contracts';
import { nGram } from '@forerun/drafters';
import { Commands, compile, State, StateBuffers, trace } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import golden from '../../fixtures/speculative/prompt-lookup.json' with { type: 'json' };

type Instance = [sequence: number, longest: number, most: number, proposed: number[]];

const device = await testDevice();
const history = new State({ name: 'history', shape: [128], dtype: 'u32' });
const loop = new State({ name: 'loop', shape: [loopStateWords], dtype: 'u32' });

describe('n-gram lookup', () => {
  it('proposes what transformers proposes', async () => {
    const buffers = new StateBuffers(device, [history, loop]);
    const kinds = new Map<string, Instance[]>();
    for (const instance of golden.instances as Instance[]) {
      const key = `${instance[1]} ${instance[2]}`;
      kinds.set(key, [...(kinds.get(key) ?? []), instance]);
    }
    expect(golden.instances.length).toBeGreaterThan(50);
    for (const instances of kinds.values()) {
      const [, longest, most] = instances[0]!;
      const drafter = nGram({ longest, prefer: 'earliest' });
      const graph = trace((traced) => {
        const length = traced.input('length', [1], 'u32');
        const round = { width: most + 1, history, loop, length } as unknown as Round;
        const tree = drafter.propose(round, drafter.state(128, { rollbackTokens: 0 }));
        traced.output('tokens', tree.tokens);
        traced.output('count', tree.count);
      });
      const program = await compile(graph, { device, name: 'lookup' });
      for (const [sequence, , , proposed] of instances) {
        const tokens = golden.sequences[sequence]!;
        const words = new Uint32Array(loopStateWords);
        words[loopWords.length] = tokens.length - 1;
        buffers.write(history, Uint32Array.from(tokens));
        buffers.write(loop, words);
        const commands = new Commands(device).run(program, { states: buffers });
        const reads = [commands.read(program, 'tokens'), commands.read(program, 'count')] as const;
        commands.submit();
        const [drafts, count] = await Promise.all(reads);
        expect(Array.from(drafts.subarray(1, count[0])), `${tokens} with n-grams of ${longest}`).toEqual(proposed);
      }
      program.destroy();
    }
    buffers.destroy();
  });
});
