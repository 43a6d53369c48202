/** Self-speculation: the target left after some of its layers. */
import { earlyExit } from '@forerun/drafters';
import { argmax, concat, type Tensor } from '@forerun/tensor';
import { CaseGraphs, type CaseModel, caseModel, chainRows } from './case-model.ts';
import { caseEngine, cutDrafter, type RecordedRound, roundsDifference, runRounds } from './case-runs.ts';
import { firstDifference, listDifference, normDifference, type SpeculativeCase } from './speculative-case.ts';

interface EarlyExitRun {
  readonly exit_layer: number;
  readonly num_speculations: number;
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
  readonly rounds: readonly RecordedRound[];
}

/** Logits at every exit, one step of drafting and verification, and greedy runs. */
export async function layerSkip(one: SpeculativeCase): Promise<string | undefined> {
  const model = await caseModel(one.beside('target-llama'));
  return (await exitDifference(one, model)) ?? (await stepDifference(one, model)) ?? (await runDifference(one, model));
}

/** Exits that a case records, by their number of layers. */
function exitsOf({ facts }: SpeculativeCase): number[] {
  return Object.keys(facts['tensors'] as object).flatMap((name) => {
    const found = /^forward\.exit(\d+)_logits$/.exec(name);
    return found ? [Number(found[1])] : [];
  });
}

async function exitDifference(one: SpeculativeCase, model: CaseModel): Promise<string | undefined> {
  const { decoder } = model;
  const ids = (await one.tensor('forward.input_ids')).data;
  const exits = exitsOf(one);
  const state = decoder.state(ids.length, { rollbackTokens: 0 });
  const graphs = new CaseGraphs(one.device, { owned: [model], states: state.states, bound: ids.length });
  try {
    const out = await graphs.run((graph) => {
      const outputs: Record<string, Tensor> = {};
      for (const exit of exits) {
        const { hidden } = decoder.forward(chainRows(graph, ids, 0), state, { layers: [0, exit] });
        outputs[`forward.exit${exit}_hidden`] = hidden;
        outputs[`forward.exit${exit}_logits`] = decoder.head(decoder.norm(hidden));
      }
      return outputs;
    });
    return await firstDifference(Object.entries(out), ([name, got]) => normDifference(one, name, got));
  } finally {
    graphs.destroy();
  }
}

async function stepDifference(one: SpeculativeCase, model: CaseModel): Promise<string | undefined> {
  const { decoder } = model;
  const prompt = Array.from((await one.tensor('step.prompt')).data);
  const want = Array.from((await one.tensor('step.drafts')).data);
  const { exit_layer: exit } = one.facts['params'] as { exit_layer: number };
  const anchor = prompt.length - 1;
  const bound = prompt.length + want.length;
  const state = decoder.state(bound, { rollbackTokens: 0 });
  const graphs = new CaseGraphs(one.device, { owned: [model], states: state.states, bound });
  const logitsOf = (hidden: Tensor) => decoder.head(decoder.norm(hidden));
  try {
    const out = await graphs.run((graph) => {
      decoder.forward(chainRows(graph, prompt.slice(0, anchor), 0), state);
      const tokens = [graph.constant(Uint32Array.of(prompt[anchor]!))];
      const drafted = want.map((_, step) => {
        const row = chainRows(graph, tokens.at(-1)!, anchor + step);
        const logits = logitsOf(decoder.forward(row, state, { layers: [0, exit] }).hidden);
        tokens.push(argmax(logits));
        return logits;
      });
      const verified = decoder.forward(chainRows(graph, concat(tokens, 0), anchor), state);
      return {
        drafts: concat(tokens.slice(1), 0),
        draft_logits: concat(drafted, 0),
        verify_logits: logitsOf(verified.hidden),
      };
    });
    return (
      listDifference('step.drafts', Array.from(out['drafts']!), want) ??
      (await normDifference(one, 'step.draft_logits', out['draft_logits']!)) ??
      (await normDifference(one, 'step.verify_logits', out['verify_logits']!))
    );
  } finally {
    graphs.destroy();
  }
}

interface AssistedRun {
  readonly prompt: readonly number[];
  readonly assistant_early_exit: number;
  readonly tokens: readonly number[];
}

async function runDifference(one: SpeculativeCase, model: CaseModel): Promise<string | undefined> {
  const runs = one.facts['runs'] as readonly EarlyExitRun[];
  const assisted = one.facts['transformers_early_exit'] as AssistedRun | undefined;
  const lengths = [...runs, ...(assisted ? [assisted] : [])].map(({ prompt, tokens }) => prompt.length + tokens.length);
  const engine = await caseEngine(one.device, model, { capacityTokens: Math.max(...lengths) });
  const rounds = async (
    { prompt, tokens }: { readonly prompt: readonly number[]; readonly tokens: readonly number[] },
    { layer, drafts }: { readonly layer: number; readonly drafts: number },
  ) => {
    const { drafter, cut } = cutDrafter(earlyExit({ layer }), engine.capacityTokens);
    using conversation = engine.open({ drafter });
    cut(conversation, drafts);
    return await runRounds(conversation, { prompt, maxTokens: tokens.length, width: drafts + 1 });
  };
  try {
    return (
      (await firstDifference(runs.entries(), async ([index, run]) => {
        const got = await rounds(run, { layer: run.exit_layer, drafts: run.num_speculations });
        return (
          listDifference(
            `run ${index}`,
            got.flatMap(({ tokens }) => tokens),
            run.tokens,
          ) ?? roundsDifference(`run ${index}`, got, run.rounds)
        );
      })) ??
      (assisted
        ? listDifference(
            'transformers_early_exit',
            (await rounds(assisted, { layer: assisted.assistant_early_exit, drafts: 3 })).flatMap(
              ({ tokens }) => tokens,
            ),
            assisted.tokens,
          )
        : undefined)
    );
  } finally {
    engine.destroy();
  }
}
