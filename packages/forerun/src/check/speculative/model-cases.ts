/** Cases that are a model: logits, the residual stream of every layer, a greedy run. */
import { caseEngine, runRounds } from './case-runs.ts';
import { type CaseModel, CaseGraphs, caseModel, chainRows } from './case-model.ts';
import { firstDifference, listDifference, normDifference, type SpeculativeCase } from './speculative-case.ts';

interface GreedyRun {
  readonly prompt: readonly number[];
  readonly new_tokens: readonly number[];
}

/** A model's forward pass and, where it is recorded, its greedy run. */
export async function modelCase(one: SpeculativeCase): Promise<string | undefined> {
  const model = await caseModel(one.source);
  const run = one.facts['greedy'] as GreedyRun | undefined;
  return (await forwardDifference(one, model)) ?? (run ? await greedyDifference(one, model, run) : undefined);
}

async function forwardDifference(one: SpeculativeCase, model: CaseModel): Promise<string | undefined> {
  const { decoder } = model;
  const ids = (await one.tensor('input_ids')).data;
  const state = decoder.state(ids.length, { rollbackTokens: 0 });
  const graphs = new CaseGraphs(one.device, { owned: [model], states: state.states, bound: ids.length });
  try {
    const out = await graphs.run((graph) => {
      const layers = Array.from({ length: decoder.layerCount }, (_, layer) => layer);
      const { hidden, taps } = decoder.forward(chainRows(graph, ids, 0), state, { taps: layers });
      const normed = decoder.norm(hidden);
      const streams = [...taps, hidden].map((tensor, index) => [`stream.${index}`, tensor] as const);
      return { ...Object.fromEntries(streams), final_hidden: normed, logits: decoder.head(normed) };
    });
    const recorded = Object.entries(out).filter(([name]) => one.has(name));
    return await firstDifference(recorded, ([name, got]) => normDifference(one, name, got));
  } finally {
    graphs.destroy();
  }
}

async function greedyDifference(one: SpeculativeCase, model: CaseModel, run: GreedyRun): Promise<string | undefined> {
  const { prompt, new_tokens: want } = run;
  const engine = await caseEngine(one.device, model, { capacityTokens: prompt.length + want.length });
  try {
    using conversation = engine.open();
    const rounds = await runRounds(conversation, { prompt, maxTokens: want.length });
    return listDifference(
      'greedy run',
      rounds.flatMap(({ tokens }) => tokens),
      want,
    );
  } finally {
    engine.destroy();
  }
}
