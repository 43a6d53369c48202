import { MismatchedPartsError } from '@forerun/contracts';
import { eagleHead } from '@forerun/mtp';
import { argmax, gatherRows as rowOf } from '@forerun/tensor';
import { relativeError, testDevice } from '@forerun/tensor/harness';
import { CaseGraphs, chainRows } from 'forerun/check';
import { describe, expect, test } from 'vitest';
import { constant, goldenCase, targetLlama } from './golden-case.ts';

const device = await testDevice();
const target = await targetLlama();
const { decoder } = target;
const owner = { checkpoint: target.checkpoint, weights: target.weights };

interface ChainRound {
  readonly feature_rows: readonly [number, number];
  readonly input_ids: readonly number[];
}

async function open(name: string) {
  const golden = goldenCase(name);
  const checkpoint = await golden.open();
  const head = await eagleHead(checkpoint, decoder);
  const state = head.state(64, { rollbackTokens: 0 });
  const runner = new CaseGraphs(device, {
    owned: [owner, { checkpoint, weights: head.weights }],
    states: state.states,
  });
  return { golden, checkpoint, head, state, runner };
}

describe.each([
  ['eagle1', { hidden: 'after-norm' }, 288],
  ['eagle3', { taps: [2, 4, 5] }, 144],
  ['eagle3-full-vocab', { taps: [2, 4, 5] }, 288],
] as const)('%s', (name, needs, vocabSize) => {
  test('hidden states and logits of a sequence', async () => {
    const { golden, head, state, runner } = await open(name);
    expect(head).toMatchObject({ needs, vocabSize });
    const [ids, features, hidden, logits] = await Promise.all(
      ['input_ids', 'features', 'hidden', 'logits'].map((part) => golden.tensor(`forward.${part}`)),
    );
    const rows = hidden!.shape[0]!;
    const out = await runner.run((graph) => {
      const passed = head.forward(
        chainRows(graph, ids!.data.subarray(1, rows + 1), 0),
        constant(graph, features!, [0, rows]),
        state,
      );
      return { hidden: passed.hidden, logits: head.logits(passed.hidden) };
    });
    const errors = {
      hidden: relativeError(out['hidden']!, hidden!.data),
      logits: relativeError(out['logits']!, logits!.data),
    };
    console.info(name, errors);
    expect(errors.hidden).toBeLessThanOrEqual(5e-5);
    expect(errors.logits).toBeLessThanOrEqual(5e-5);
    runner.destroy();
  });

  test('drafts the chains of two rounds, the second on the cache of the first', async () => {
    const { golden, head, state, runner } = await open(name);
    const trees = golden.facts['trees'] as readonly { name: string; rounds: readonly ChainRound[] }[];
    const features = await golden.tensor('chain.features');
    const { rounds } = trees.find((tree) => tree.name === 'chain')!;
    for (const [
      index,
      {
        feature_rows: [begin, end],
        input_ids: ids,
      },
    ] of rounds.entries()) {
      const expected = await golden.tensor(`chain.${index}.draft_tokens`);
      const out = await runner.run((graph) => {
        const fed = head.forward(
          chainRows(graph, ids.slice(begin + 1, end + 1), begin),
          constant(graph, features, [begin, end]),
          state,
        );
        const last = graph.constant(Uint32Array.of(end - begin - 1));
        let [hidden, recycled] = [rowOf(fed.hidden, last), rowOf(fed.recycled, last)];
        const drafts = [];
        for (let step = 0; ; step++) {
          const draft = head.tokens(argmax(head.logits(hidden)));
          drafts.push(draft);
          if (drafts.length === expected.data.length - 1) break;
          ({ hidden, recycled } = head.forward(chainRows(graph, draft, end + step), recycled, state));
        }
        return Object.fromEntries(drafts.map((draft, step) => [String(step), draft]));
      });
      expect(Object.values(out).map(([token]) => token)).toEqual([...expected.data.subarray(1)]);
      expect(ids.at(-1)).toBe(expected.data[0]);
    }
    runner.destroy();
  });

  test('is refused by a target that it was not made for', async () => {
    const checkpoint = await goldenCase(name).open();
    await expect(eagleHead(checkpoint, { ...decoder, hiddenSize: 96 })).rejects.toThrow(MismatchedPartsError);
    await expect(eagleHead(checkpoint, { ...decoder, hiddenSize: 96 })).rejects.toThrow(/64.* 96|192.* 288/);
    await expect(eagleHead(checkpoint, { ...decoder, vocabSize: 200 })).rejects.toThrow(MismatchedPartsError);
    await expect(eagleHead(checkpoint, { ...decoder, vocabSize: 200 })).rejects.toThrow(/200/);
    if (name !== 'eagle1') {
      await expect(eagleHead(checkpoint, { ...decoder, layerCount: 1 })).rejects.toThrow(/layers.* has 1 layers/);
      // Two of the three layers coincide in a target of four.
      await expect(eagleHead(checkpoint, { ...decoder, layerCount: 4 })).rejects.toThrow(/192.* 128/);
    }
  });
});
