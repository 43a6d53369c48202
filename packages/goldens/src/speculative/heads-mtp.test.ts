import type { Checkpoint } from '@forerun/checkpoints';
import { MismatchedPartsError } from '@forerun/contracts';
import { type HeadTarget, mtpHead, type PredictionOptions } from '@forerun/mtp';
import { argmax, embedding, gatherRows, linear, type Tensor } from '@forerun/tensor';
import { relativeError, testDevice } from '@forerun/tensor/harness';
import { CaseGraphs, chainRows, type OwnedWeights } from 'forerun/check';
import { describe, expect, test } from 'vitest';
import { constant, type GoldenCase, goldenCase } from './golden-case.ts';

const device = await testDevice();
const tolerance = 5e-5;

/** Embedding and head of the model in a checkpoint: all that a module uses of it. */
function targetOf(checkpoint: Checkpoint): { target: HeadTarget; owner: OwnedWeights } {
  const w = checkpoint.weights();
  const [vocabSize, hiddenSize] = checkpoint.tensors.get('lm_head.weight')!.shape as [number, number];
  const embedTokens = w.at('model').at('embed_tokens').tensor('weight', [vocabSize, hiddenSize]);
  const lmHead = w.at('lm_head').tensor('weight', [vocabSize, hiddenSize]);
  const target: HeadTarget = {
    vocabSize,
    hiddenSize,
    layerCount: 2,
    embed: (tokens) => embedding(embedTokens, tokens),
    head: (normed) => linear(normed, lmHead),
  };
  return { target, owner: { checkpoint, weights: [embedTokens, lmHead] } };
}

async function open(name: string, options: PredictionOptions = {}) {
  const golden = goldenCase(name);
  const checkpoint = await golden.open();
  const { target, owner } = targetOf(checkpoint);
  const head = await mtpHead(checkpoint, target, options);
  const state = head.state(64, { rollbackTokens: 0 });
  const runner = new CaseGraphs(device, {
    owned: [owner, { checkpoint, weights: head.weights }],
    states: state.states,
  });
  return { golden, checkpoint, target, head, state, runner };
}

type Opened = Awaited<ReturnType<typeof open>>;

/** Runs a layer over a whole sequence: rows of `ids` from `shift` on, with the features `features`. */
async function forward(
  { golden, head, state, runner }: Opened,
  pass: { ids: ArrayLike<number>; features: string; layer?: number; rows?: number },
) {
  const features = await golden.tensor(pass.features);
  const rows = pass.rows ?? features.shape[0]!;
  return runner.run((graph) => {
    const tokens = chainRows(graph, Array.from(pass.ids).slice(0, rows), 0);
    const out = head.forward(tokens, constant(graph, features, [0, rows]), state, pass.layer);
    return { hidden: out.hidden, recycled: out.recycled, logits: head.logits(out.hidden) };
  });
}

async function agree(
  golden: GoldenCase,
  what: string,
  results: Readonly<Record<string, ArrayLike<number>>>,
): Promise<void> {
  const errors: Record<string, number> = {};
  for (const [name, values] of Object.entries(results))
    errors[name] = relativeError(values, (await golden.tensor(name)).data);
  console.info(what, errors);
  for (const [name, error] of Object.entries(errors)) expect(error, `${what}: ${name}`).toBeLessThanOrEqual(tolerance);
}

/** Four tokens drafted by the first layer on its own output, behind a sequence; holds them to `recursive…`. */
async function recursion(opened: Opened, prefix: string, features: string): Promise<void> {
  const { golden, head, state, runner } = opened;
  const ids = (await golden.tensor('forward.input_ids')).data.subarray(1);
  const given = await golden.tensor(features);
  const rows = given.shape[0]!;
  const out = await runner.run((graph) => {
    const fed = head.forward(chainRows(graph, ids.subarray(0, rows), 0), constant(graph, given), state);
    const last = graph.constant(Uint32Array.of(rows - 1));
    let step: { hidden: Tensor; recycled: Tensor } = {
      hidden: gatherRows(fed.hidden, last),
      recycled: gatherRows(fed.recycled, last),
    };
    const outputs: Record<string, Tensor> = {};
    for (let i = 0; i < 4; i++) {
      const logits = head.logits(step.hidden);
      const token = argmax(logits);
      Object.assign(outputs, { [`tokens ${i}`]: token, [`logits ${i}`]: logits, [`hidden ${i}`]: step.recycled });
      if (i < 3) step = head.forward(chainRows(graph, token, rows + i), step.recycled, state);
    }
    return outputs;
  });
  const of = (what: string) => [0, 1, 2, 3].flatMap((i) => [...out[`${what} ${i}`]!]);
  expect(of('tokens')).toEqual([...(await golden.tensor(`${prefix}.tokens`)).data]);
  await agree(golden, prefix, { [`${prefix}.logits`]: of('logits'), [`${prefix}.hidden`]: of('hidden') });
}

describe.each([
  ['mtp-deepseek-v3', 2],
  ['mtp-glm4-moe', 1],
])('%s', (name, layers) => {
  test('every layer over a sequence, each on the output of the one below', async () => {
    const opened = await open(name);
    const { golden, head } = opened;
    expect(head.layerCount).toBe(layers);
    const ids = [...(await golden.tensor('forward.input_ids')).data];
    const drafts = (await golden.tensor('forward.draft_tokens')).data;
    const vocab = opened.target.vocabSize;
    for (let layer = 0; layer < layers; layer++) {
      const features = layer === 0 ? 'forward.target_hidden' : `forward.layer${layer - 1}_hidden`;
      const out = await forward(opened, { ids: [...ids, ...drafts].slice(1 + layer), features, layer });
      await agree(golden, name, {
        [`forward.layer${layer}_hidden`]: out['hidden']!,
        [`forward.layer${layer}_logits`]: out['logits']!,
      });
      const best = out['logits']!.subarray(-vocab);
      expect(best.indexOf(Math.max(...best))).toBe(drafts[layer]);
    }
    opened.runner.destroy();
  });

  test.each(['after-norm', 'before-norm'] as const)('drafts on its own output %s', async (recycle) => {
    const opened = await open(name, { recycle });
    await recursion(opened, `recursive.${recycle.replace('-', '_')}`, 'forward.target_hidden');
    opened.runner.destroy();
  });
});

describe.each(['mtp-qwen3-next', 'mtp-qwen3-5'])('%s', (name) => {
  test('over a sequence, with hidden states before and after the final norm', async () => {
    const opened = await open(name);
    const ids = (await opened.golden.tensor('forward.input_ids')).data.subarray(1);
    for (const kind of ['post_norm', 'pre_norm']) {
      const out = await forward(opened, { ids, features: `forward.hidden_${kind}` });
      await agree(opened.golden, name, {
        [`forward.${kind}_hidden_out`]: out['hidden']!,
        [`forward.${kind}_logits`]: out['logits']!,
      });
    }
    opened.runner.destroy();
  });

  test('step by step on given tokens, as it is trained', async () => {
    const { golden, head, state, runner } = await open(name);
    const ids = (await golden.tensor('teacher_forced.input_ids')).data;
    const features = await golden.tensor('teacher_forced.hidden');
    const [steps, rows] = (await golden.tensor('teacher_forced.logits')).shape as [number, number];
    const out = await runner.run((graph) => {
      let given = constant(graph, features, [0, rows]);
      const logits: Record<string, Tensor> = {};
      for (let step = 0; step < steps; step++) {
        const tokens = chainRows(graph, ids.subarray(step + 1, step + 1 + rows), 0);
        const { hidden, recycled } = head.forward(tokens, given, state);
        logits[String(step)] = head.logits(hidden);
        given = recycled;
      }
      return logits;
    });
    const all = Array.from({ length: steps }, (_, step) => [...out[String(step)]!]).flat();
    await agree(golden, name, { 'teacher_forced.logits': all });
    runner.destroy();
  });

  test('drafts on its own output', async () => {
    const opened = await open(name);
    await recursion(opened, 'recursive', 'forward.hidden_post_norm');
    opened.runner.destroy();
  });
});

describe('mtp-mimo', () => {
  test.each([
    ['forward', false],
    ['first_zeroed', true],
  ])('over a sequence: %s', async (variant, zeroedFirst) => {
    const opened = await open('mtp-mimo', { zeroedFirst });
    const ids = (await opened.golden.tensor('forward.input_ids')).data.subarray(1);
    const out = await forward(opened, { ids, features: 'forward.hidden_post_norm' });
    await agree(opened.golden, 'mtp-mimo', {
      [`${variant}.hidden_out`]: out['hidden']!,
      [`${variant}.logits`]: out['logits']!,
    });
    opened.runner.destroy();
  });

  test('drafts on its own output', async () => {
    const opened = await open('mtp-mimo');
    await recursion(opened, 'recursive', 'forward.hidden_post_norm');
    opened.runner.destroy();
  });
});

test.each(['mtp-deepseek-v3', 'mtp-glm4-moe', 'mtp-mimo', 'mtp-qwen3-next', 'mtp-qwen3-5'])(
  '%s is refused by a target that it was not made for',
  async (name) => {
    const checkpoint = await goldenCase(name).open();
    const { target } = targetOf(checkpoint);
    await expect(mtpHead(checkpoint, { ...target, hiddenSize: 96 })).rejects.toThrow(MismatchedPartsError);
    await expect(mtpHead(checkpoint, { ...target, hiddenSize: 96 })).rejects.toThrow(/hidden size 40.* has 96/);
    await expect(mtpHead(checkpoint, { ...target, vocabSize: 7 })).rejects.toThrow(/vocabulary of 96.* has 7/);
  },
);
