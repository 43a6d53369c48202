import { MismatchedPartsError } from '@forerun/contracts';
import { hydraHeads, medusaHeads } from '@forerun/mtp';
import { relativeError, testDevice } from '@forerun/tensor/harness';
import { CaseGraphs, chainRows } from 'forerun/check';
import { describe, expect, test } from 'vitest';
import { constant, goldenCase, targetLlama } from './golden-case.ts';

const device = await testDevice();
const target = await targetLlama();
const { decoder } = target;
const owner = { checkpoint: target.checkpoint, weights: target.weights };

function report(what: string, errors: Readonly<Record<string, number>>, tolerance: number): void {
  console.info(what, errors);
  for (const [name, error] of Object.entries(errors)) expect(error, `${what}: ${name}`).toBeLessThanOrEqual(tolerance);
}

test('target-llama: logits, residual streams and the normed hidden states', async () => {
  const golden = goldenCase('target-llama');
  const ids = await golden.tensor('input_ids');
  const state = decoder.state(64, { rollbackTokens: 0 });
  const runner = new CaseGraphs(device, { owned: [owner], states: state.states });
  const out = await runner.run((graph) => {
    const { hidden, taps } = decoder.forward(chainRows(graph, ids.data, 0), state, { taps: [2, 4, 5] });
    const normed = decoder.norm(hidden);
    return {
      logits: decoder.head(normed),
      final_hidden: normed,
      'stream.2': taps[0]!,
      'stream.4': taps[1]!,
      'stream.5': taps[2]!,
    };
  });
  const errors: Record<string, number> = {};
  for (const name of Object.keys(out)) errors[name] = relativeError(out[name]!, (await golden.tensor(name)).data);
  report('target-llama', errors, 2e-5);
  runner.destroy();
});

describe('medusa-heads', () => {
  const golden = goldenCase('medusa-heads');

  test.each([
    ['medusa_lm_head_v1.safetensors', 'v1_logits', 4],
    ['medusa_lm_head.safetensors', 'v2_logits', 4],
    ['medusa_lm_head_v1_two_layers.pt', 'v1_two_layers_logits', 1],
  ])('%s', async (file, tensor, count) => {
    const checkpoint = await golden.open(file);
    const heads = medusaHeads(checkpoint, decoder);
    expect(heads.count).toBe(count);
    const hidden = await golden.tensor('hidden');
    const runner = new CaseGraphs(device, { owned: [owner, { checkpoint, weights: heads.weights }] });
    const out = await runner.run((graph) => {
      const x = constant(graph, hidden);
      return Object.fromEntries(Array.from({ length: count }, (_, head) => [`head ${head}`, heads.logits(x, head)]));
    });
    const expected = await golden.tensor(tensor);
    const size = expected.data.length / count;
    const errors = Object.entries(out).map(
      ([name, values], head) =>
        [name, relativeError(values, expected.data.subarray(head * size, (head + 1) * size))] as const,
    );
    report(`medusa-heads ${file}`, Object.fromEntries(errors), 2e-5);
    runner.destroy();
  });

  test('are refused by a target of another size', async () => {
    const own = await golden.open('medusa_lm_head_v1.safetensors');
    expect(() => medusaHeads(own, { ...decoder, vocabSize: 300 })).toThrow(MismatchedPartsError);
    expect(() => medusaHeads(own, { ...decoder, vocabSize: 300 })).toThrow(/vocabulary of 288.* has 300/);
    expect(() => medusaHeads(own, { ...decoder, hiddenSize: 96 })).toThrow(/hidden size 64.* has 96/);
    expect(() => medusaHeads(target.checkpoint, decoder)).toThrow(
      expect.objectContaining({ code: 'head-config' }) as Error,
    );
  });
});

describe.each(['hydra-mlp', 'hydra-prefix-mlp'])('%s', (name) => {
  test('logits of every head', async () => {
    const golden = goldenCase(name);
    const checkpoint = await golden.open('hydra_lm_head.safetensors');
    const heads = hydraHeads(checkpoint, decoder, { targetConfig: await target.checkpoint.config() });
    const [ids, hidden, expected] = await Promise.all(['input_ids', 'hidden', 'head_logits'].map(golden.tensor));
    const [count, rows, vocab] = expected!.shape as [number, number, number];
    expect(heads.count).toBe(count);
    const state = heads.prefix?.state(64, { rollbackTokens: 0 });
    const runner = new CaseGraphs(device, {
      owned: [owner, { checkpoint, weights: heads.weights }],
      states: state?.states ?? [],
    });
    const out = await runner.run((graph) => {
      const seen = constant(graph, hidden!, [0, rows]);
      const x = heads.prefix
        ? heads.prefix.forward(chainRows(graph, ids!.data.subarray(0, rows), 0), seen, state!)
        : seen;
      const shifted = (by: number) => graph.constant(Uint32Array.from(ids!.data.subarray(by, by + rows)));
      return Object.fromEntries(
        Array.from({ length: count }, (_, head) => {
          const following = Array.from({ length: head + 1 }, (_unused, i) => shifted(i + 1));
          return [`head ${head}`, heads.logits(x, following)];
        }),
      );
    });
    const size = rows * vocab;
    const errors = Object.entries(out).map(
      ([head, values], i) => [head, relativeError(values, expected!.data.subarray(i * size, (i + 1) * size))] as const,
    );
    report(name, Object.fromEntries(errors), 5e-5);
    runner.destroy();
  });

  test('is refused by a target of another size', async () => {
    const checkpoint = await goldenCase(name).open('hydra_lm_head.safetensors');
    const targetConfig = await target.checkpoint.config();
    expect(() => hydraHeads(checkpoint, { ...decoder, vocabSize: 300 }, { targetConfig })).toThrow(
      /vocabulary of 288.* has 300/,
    );
    expect(() => hydraHeads(checkpoint, { ...decoder, hiddenSize: 96 }, { targetConfig })).toThrow(
      /hidden size of 64.* has 96/,
    );
  });
});
