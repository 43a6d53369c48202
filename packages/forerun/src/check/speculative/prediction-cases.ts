/** Cases of the prediction modules that stand in a model's own checkpoint. */
import type { Checkpoint } from '@forerun/checkpoints';
import { mtp } from '@forerun/drafters';
import { type FeatureHead, type HeadTarget, mtpHead, type PredictionOptions } from '@forerun/mtp';
import { argmax, embedding, gatherRows, linear, type Tensor } from '@forerun/tensor';
import {
  caseCheckpoint,
  caseConstant,
  CaseGraphs,
  type CaseModel,
  caseModel,
  chainRows,
  type OwnedWeights,
} from './case-model.ts';
import { caseEngine, type RecordedRound, runRounds } from './case-runs.ts';
import { firstDifference, listDifference, normDifference, type SpeculativeCase } from './speculative-case.ts';

/** A prediction module on the embedding and head of its checkpoint: it needs no more of the target. */
interface OpenModule {
  readonly one: SpeculativeCase;
  readonly head: FeatureHead;
  readonly graphs: CaseGraphs;
  readonly state: ReturnType<FeatureHead['state']>;
}

/** The embedding and head of a checkpoint, whose language model multimodal ones keep apart. */
function embeddingAndHead(checkpoint: Checkpoint): { target: HeadTarget; owned: OwnedWeights } {
  const w = checkpoint.weights();
  const inside = w.at('model').at('language_model');
  const table = (inside.has('embed_tokens') ? inside : w.at('model')).at('embed_tokens');
  const tied = !w.has('lm_head');
  const [vocabSize, hiddenSize] = (checkpoint.tensors.get(`${table.path}.weight`)?.shape ?? [0, 0]) as [number, number];
  const input = table.tensor('weight', [vocabSize, hiddenSize]);
  const output = tied ? input : w.at('lm_head').tensor('weight', [vocabSize, hiddenSize]);
  const target: HeadTarget = {
    vocabSize,
    hiddenSize,
    // A module's names follow from its own configuration; this is for heads that tap layers.
    layerCount: 1,
    embed: (tokens) => embedding(input, tokens),
    head: (normed) => linear(normed, output),
  };
  return { target, owned: { checkpoint, weights: tied ? [input] : [output, input] } };
}

/** Opens the module with some settings, and closes it after the check. */
async function withModule(
  one: SpeculativeCase,
  options: PredictionOptions,
  check: (opened: OpenModule) => Promise<string | undefined>,
): Promise<string | undefined> {
  const checkpoint = await caseCheckpoint(one.source);
  const { target, owned } = embeddingAndHead(checkpoint);
  const head = await mtpHead(checkpoint, target, options);
  const ids = await one.tensor('forward.input_ids');
  const bound = ids.data.length + 64;
  const state = head.state(bound, { rollbackTokens: 0 });
  const graphs = new CaseGraphs(one.device, {
    owned: [owned, { checkpoint, weights: head.weights }],
    states: state.states,
    bound,
  });
  try {
    return await check({ one, head, graphs, state });
  } finally {
    graphs.destroy();
  }
}

const integers = async (one: SpeculativeCase, name: string) => Array.from((await one.tensor(name)).data);

/** Runs a layer over a whole sequence from the features recorded as `features`. */
async function layerForward(
  { one, head, graphs, state }: OpenModule,
  pass: { readonly tokens: readonly number[]; readonly features: string; readonly layer?: number },
) {
  const features = await one.tensor(pass.features);
  const rows = features.shape[0]!;
  return graphs.run((graph) => {
    const { hidden } = head.forward(
      chainRows(graph, pass.tokens.slice(0, rows), 0),
      caseConstant(graph, features),
      state,
      pass.layer,
    );
    return { hidden, logits: head.logits(hidden) };
  });
}

/** Tokens drafted by the first layer on its own output, held to the recording `prefix`. */
async function recursionDifference(
  { one, head, graphs, state }: OpenModule,
  { prefix, features }: { readonly prefix: string; readonly features: string },
): Promise<string | undefined> {
  const ids = (await integers(one, 'forward.input_ids')).slice(1);
  const given = await one.tensor(features);
  const want = await integers(one, `${prefix}.tokens`);
  const rows = given.shape[0]!;
  const out = await graphs.run((graph) => {
    const fed = head.forward(chainRows(graph, ids.slice(0, rows), 0), caseConstant(graph, given), state);
    const last = graph.constant(Uint32Array.of(rows - 1));
    let step: { hidden: Tensor; recycled: Tensor } = {
      hidden: gatherRows(fed.hidden, last),
      recycled: gatherRows(fed.recycled, last),
    };
    const outputs: Record<string, Tensor> = {};
    for (let i = 0; i < want.length; i++) {
      const logits = head.logits(step.hidden);
      const token = argmax(logits);
      Object.assign(outputs, { [`tokens ${i}`]: token, [`logits ${i}`]: logits, [`hidden ${i}`]: step.recycled });
      if (i + 1 < want.length) step = head.forward(chainRows(graph, token, rows + i), step.recycled, state);
    }
    return outputs;
  });
  const of = (what: string) => want.flatMap((_, i) => [...out[`${what} ${i}`]!]);
  return (
    listDifference(`${prefix}.tokens`, of('tokens'), want) ??
    (await normDifference(one, `${prefix}.logits`, of('logits'))) ??
    (await normDifference(one, `${prefix}.hidden`, of('hidden')))
  );
}

/** DeepSeek-V3 and GLM: every layer, drafts on their own output both ways, and runs of the whole model. */
export async function deepseekModule(one: SpeculativeCase): Promise<string | undefined> {
  const layers = async (opened: OpenModule) => {
    const { head } = opened;
    const drafts = await integers(one, 'forward.draft_tokens');
    const ids = [...(await integers(one, 'forward.input_ids')), ...drafts];
    return firstDifference(Array.from({ length: head.layerCount }).keys(), async (layer) => {
      const features = layer === 0 ? 'forward.target_hidden' : `forward.layer${layer - 1}_hidden`;
      const out = await layerForward(opened, { tokens: ids.slice(1 + layer), features, layer });
      const last = out['logits']!.subarray(-head.vocabSize);
      return (
        (await normDifference(one, `forward.layer${layer}_hidden`, out['hidden']!)) ??
        (await normDifference(one, `forward.layer${layer}_logits`, out['logits']!)) ??
        listDifference(`draft of layer ${layer}`, [last.indexOf(Math.max(...last))], [drafts[layer]!])
      );
    });
  };
  return (
    (await withModule(one, {}, layers)) ??
    (await firstDifference(['after-norm', 'before-norm'] as const, (recycle) =>
      withModule(one, { recycle }, (opened) =>
        recursionDifference(opened, {
          prefix: `recursive.${recycle.replace('-', '_')}`,
          features: 'forward.target_hidden',
        }),
      ),
    )) ??
    (await targetDifference(one, 'forward.target_hidden')) ??
    (await runDifference(one))
  );
}

/** Qwen3-Next and Qwen3.5: on hidden states before and after the final norm, step by step on given tokens, on its own output. */
export async function qwenModule(one: SpeculativeCase): Promise<string | undefined> {
  return withModule(one, {}, async (opened) => {
    const tokens = (await integers(one, 'forward.input_ids')).slice(1);
    return (
      (await firstDifference(['post_norm', 'pre_norm'], async (kind) => {
        const out = await layerForward(opened, { tokens, features: `forward.hidden_${kind}` });
        return (
          (await normDifference(one, `forward.${kind}_hidden_out`, out['hidden']!)) ??
          (await normDifference(one, `forward.${kind}_logits`, out['logits']!))
        );
      })) ??
      (await teacherForcedDifference(opened)) ??
      (await recursionDifference(opened, { prefix: 'recursive', features: 'forward.hidden_post_norm' }))
    );
  });
}

async function teacherForcedDifference({ one, head, graphs, state }: OpenModule): Promise<string | undefined> {
  const ids = await integers(one, 'teacher_forced.input_ids');
  const features = await one.tensor('teacher_forced.hidden');
  const [steps, rows] = (await one.tensor('teacher_forced.logits')).shape as [number, number];
  const out = await graphs.run((graph) => {
    let given = caseConstant(graph, features, rows);
    const logits: Record<string, Tensor> = {};
    for (let step = 0; step < steps; step++) {
      const tokens = chainRows(graph, ids.slice(step + 1, step + 1 + rows), 0);
      const { hidden, recycled } = head.forward(tokens, given, state);
      logits[String(step)] = head.logits(hidden);
      given = recycled;
    }
    return logits;
  });
  const all = Array.from({ length: steps }, (_, step) => [...out[String(step)]!]).flat();
  return normDifference(one, 'teacher_forced.logits', all);
}

/** MiMo: over a sequence, with the first embedding and with zeros for it, and on its own output. */
export async function mimoModule(one: SpeculativeCase): Promise<string | undefined> {
  const variants = [
    ['forward', false],
    ['first_zeroed', true],
  ] as const;
  return (
    (await firstDifference(variants, ([variant, zeroedFirst]) =>
      withModule(one, { zeroedFirst }, async (opened) => {
        const tokens = (await integers(one, 'forward.input_ids')).slice(1);
        const out = await layerForward(opened, { tokens, features: 'forward.hidden_post_norm' });
        return (
          (await normDifference(one, `${variant}.hidden_out`, out['hidden']!)) ??
          (await normDifference(one, `${variant}.logits`, out['logits']!))
        );
      }),
    )) ??
    (await withModule(one, {}, (opened) =>
      recursionDifference(opened, { prefix: 'recursive', features: 'forward.hidden_post_norm' }),
    )) ??
    (await targetDifference(one, 'forward.hidden_post_norm'))
  );
}

/** The target's own pass: normed hidden states, recorded as `hiddenName`, and logits. */
async function targetDifference(one: SpeculativeCase, hiddenName: string): Promise<string | undefined> {
  const model = await caseModel(one.source);
  const rows = (await one.tensor(hiddenName)).shape[0]!;
  const ids = (await integers(one, 'forward.input_ids')).slice(0, rows);
  const state = model.decoder.state(rows, { rollbackTokens: 0 });
  const graphs = new CaseGraphs(one.device, { owned: [model], states: state.states, bound: rows });
  try {
    const out = await graphs.run((graph) => {
      const normed = model.decoder.norm(model.decoder.forward(chainRows(graph, ids, 0), state).hidden);
      return { normed, logits: model.decoder.head(normed) };
    });
    return (
      (await normDifference(one, hiddenName, out['normed']!)) ??
      (await normDifference(one, 'forward.target_logits', out['logits']!))
    );
  } finally {
    graphs.destroy();
  }
}

interface ModuleRun {
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
  readonly rounds: readonly RecordedRound[];
}

/** Greedy runs: tokens of decoding with the module, and what its layers, one a draft, propose in every recorded round. */
async function runDifference(one: SpeculativeCase): Promise<string | undefined> {
  const model = await caseModel(one.source);
  const head = await mtpHead(model.checkpoint, model.decoder);
  const own: OwnedWeights = { checkpoint: model.checkpoint, weights: head.weights };
  const runs = one.facts['runs'] as readonly ModuleRun[];
  const capacityTokens = Math.max(...runs.map(({ prompt, tokens }) => prompt.length + tokens.length)) + 1;
  const engine = await caseEngine(one.device, model, { capacityTokens, owned: [own] });
  const drafter = mtp(head);
  try {
    return await firstDifference(runs.entries(), async ([index, run]) => {
      using conversation = engine.open({ drafter });
      const width = head.layerCount + 1;
      const rounds = await runRounds(conversation, { prompt: run.prompt, maxTokens: run.tokens.length, width });
      const tokens = rounds.flatMap((round) => round.tokens);
      return (
        listDifference(`run ${index}`, tokens, run.tokens) ??
        (await proposalDifference(one, { model, own, head }, { ...run, index }))
      );
    });
  } finally {
    engine.destroy();
  }
}

async function proposalDifference(
  one: SpeculativeCase,
  { model, own, head }: { readonly model: CaseModel; readonly own: OwnedWeights; readonly head: FeatureHead },
  { index, prompt, tokens, rounds }: ModuleRun & { readonly index: number },
): Promise<string | undefined> {
  const sequence = [...prompt, ...tokens];
  const rows = sequence.length;
  const states = [model.decoder.state(rows, { rollbackTokens: 0 }), head.state(rows, { rollbackTokens: 0 })] as const;
  const graphs = new CaseGraphs(one.device, {
    owned: [model, own],
    states: states.flatMap((state) => state.states),
    bound: rows,
  });
  // Without a hidden state before the first round, nothing is proposed in it.
  const drafting = rounds.map((round, at) => ({ ...round, at })).filter(({ proposed }) => proposed!.length > 0);
  try {
    const out = await graphs.run((graph) => {
      const passed = model.decoder.forward(chainRows(graph, sequence, 0), states[0]).hidden;
      const features = head.features({ hidden: model.decoder.norm(passed) });
      const outputs: Record<string, Tensor> = {};
      for (const { at, length, proposed } of drafting) {
        // Row t of layer k has token t + 1 + k; behind the anchor those are the drafts. Rows behind the last are not looked at.
        const known = [...sequence.slice(0, length), ...proposed!, ...sequence];
        let given = features;
        proposed!.forEach((_, layer) => {
          const shifted = chainRows(graph, known.slice(1 + layer, 1 + layer + rows), 0);
          const { hidden, recycled } = head.forward(shifted, given, states[1], layer);
          const last = gatherRows(hidden, graph.constant(Uint32Array.of(length! - 2)));
          outputs[`${at} ${layer}`] = argmax(head.logits(last));
          given = recycled;
        });
      }
      return outputs;
    });
    return drafting
      .map(({ at, length, proposed, n_matches: matches }) => {
        const got = proposed!.map((_, layer) => out[`${at} ${layer}`]![0]!);
        const room = sequence.length - length! - 1;
        const differing = got.findIndex((token, i) => token !== sequence[length! + i]);
        const accepted = Math.min(differing < 0 ? got.length : differing, room);
        return (
          listDifference(`run ${index}, round ${at}`, got, proposed!) ??
          listDifference(`run ${index}, round ${at}, accepted`, [accepted], [matches!])
        );
      })
      .find((difference) => difference !== undefined);
  } finally {
    graphs.destroy();
  }
}
