/** What speculation costs and gives at a model's real size, with weights that were made on the device. */
import type { WeightPolicy } from '@forerun/checkpoints';
import { declaredCheckpoint } from '@forerun/checkpoints';
import type { Drafter } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { widthClasses } from '@forerun/decoding';
import { draftModel } from '@forerun/drafters';
import { loadModel } from '@forerun/models';
import { philox } from '@forerun/tensor';
import type { HeadKind } from './head-checkpoint.ts';
import { randomHeads } from './head-checkpoint.ts';
import type { RandomEngine } from './random-engine.ts';
import type { ReplayReport } from './replay-report.ts';
import { reportReplay } from './replay-report.ts';
import type { RoundCost } from './round-cost.ts';
import { roundCost } from './round-cost.ts';
import { openLoopWords, timeRounds } from './round-timing.ts';

/** Speculation on one engine. */
export interface SpeculationReport {
  /** Whether every text of every drafter was the plain one. */
  readonly output_checked: boolean;
  readonly context: number;
  /** One token of plain decoding, in ms: wall with several in flight, GPU, encoding. */
  readonly plain: { readonly wall_ms: number; readonly gpu_ms: number | undefined; readonly encode_ms: number };
  readonly replay: ReplayReport | undefined;
  /** Rounds of a draft model with random weights. */
  readonly draft: readonly RoundCost[];
  /** Rounds of random heads, by family. */
  readonly heads: Readonly<Partial<Record<HeadKind, readonly RoundCost[]>>>;
  readonly left_out: readonly string[];
}

/** What is measured. */
export interface SpeculationReportOptions {
  readonly json: Readonly<Record<string, unknown>>;
  readonly weights: WeightPolicy;
  readonly cache?: 'f32' | 'f16' | undefined;
  /** Tokens before the first that is generated. */
  readonly context: number;
  readonly tokens: number;
  readonly pairs: number;
  /** Replayed acceptances; without any, nothing is replayed. */
  readonly acceptances: readonly number[];
  readonly widths: readonly number[];
  /** Configuration of a draft model; its vocabulary becomes the target's. */
  readonly draft?: Readonly<Record<string, unknown>> | undefined;
  readonly heads: readonly HeadKind[];
  /** Nodes of the trees that heads are measured at. */
  readonly nodes: readonly number[];
  readonly onStage?: ((stage: string) => void) | undefined;
  /** Called with each point of replay and each round's cost as soon as it is measured. */
  readonly onMeasured?: ((figure: object) => void) | undefined;
}

/** Tokens that a conversation needs behind the context for what {@link reportSpeculation} does there. */
export function speculationRoom(tokens: number): number {
  const { rounds, trials } = timingOf.hardware;
  return tokens + 3 * widthClasses.at(-1)! + 2 * rounds * (trials + 2) * likelyTokens;
}

/** Tokens that a round of random heads gives at most, on average: hardly ever more than one. */
const likelyTokens = 4;
const timingOf = { hardware: { rounds: 8, trials: 4 }, software: { rounds: 2, trials: 1 } } as const;
/** Tokens of the text that drafters with random weights are held to. */
const comparedTokens = { hardware: 24, software: 4 } as const;

async function draftOf(
  draft: Readonly<Record<string, unknown>>,
  { engine, config }: RandomEngine,
  options: SpeculationReportOptions,
): Promise<Drafter> {
  const json = { ...draft, vocab_size: config.vocabSize };
  const model = await loadModel(declaredCheckpoint(json, { weights: options.weights }));
  if (model.decoder.maxPositions < engine.capacityTokens) {
    throw new MismatchedPartsError(
      `--draft: the draft model was made for ${model.decoder.maxPositions} tokens, and ${engine.capacityTokens} are needed here. Use a smaller --context or another draft.`,
    );
  }
  return draftModel({ decoder: model.decoder, ...(options.cache ? { cache: options.cache } : {}) });
}

/** Measures replay, a draft model and heads on an engine with room for the context and {@link speculationRoom} more. */
export async function reportSpeculation(
  random: RandomEngine,
  options: SpeculationReportOptions,
): Promise<SpeculationReport> {
  const { engine, config } = random;
  const { json, weights, context, tokens, acceptances, pairs } = options;
  const { onStage = () => undefined, onMeasured = () => undefined } = options;
  const { kind } = engine.device.adapter;
  const timing = timingOf[kind];
  const leftOut: string[] = [];
  const prompt = Array.from({ length: context }, (_, at) => philox([at, 0, 0, 0], [11, 0])[0]! % config.vocabSize);

  const exact = await engine.exactWidths([...new Set([...options.widths, ...options.nodes])]);
  const usable = (widths: readonly number[]): number[] =>
    widths.filter((width) => {
      const classed = (widthClasses as readonly number[]).includes(width);
      if (classed && exact.has(width)) return true;
      leftOut.push(
        classed ? `width ${width}: its rows lack the bits of width 1` : `width ${width}: not a class of widths`,
      );
      return false;
    });
  const widths = usable(options.widths.filter((width) => width > 1));
  const replayed =
    acceptances.length > 0
      ? await reportReplay(engine, { prompt, tokens, pairs, acceptances, widths, ...timing, onStage, onMeasured })
      : undefined;

  onStage('plain tokens');
  const plainStates = engine.allocate([]);
  const program = await engine.speculation(undefined).round(1);
  const words = openLoopWords(engine, context);
  const plain = await timeRounds(engine, program, { states: plainStates, words, width: 1, ...timing });
  plainStates.destroy();
  using conversation = engine.open();
  const request = { prompt, maxTokens: Math.min(tokens, comparedTokens[kind]), stopTokens: [] };
  for await (const step of conversation.generate(request)) void step;
  const against = { prompt, plainTokens: conversation.tokens.slice(context), plain, ...timing };

  const costs = async (name: string, drafterOf: (nodes: number) => Drafter, nodes: readonly number[]) => {
    const rows: RoundCost[] = [];
    for (const count of nodes) {
      onStage(`${name}, ${count} nodes`);
      const cost = await roundCost(engine, { drafter: drafterOf(count), nodes: count }, against);
      rows.push(cost);
      onMeasured({ round: cost });
    }
    return rows;
  };
  let draft: readonly RoundCost[] = [];
  if (options.draft) {
    const drafter = await draftOf(options.draft, random, options);
    draft = await costs('draft model', () => drafter, widths);
  }
  const heads: Partial<Record<HeadKind, readonly RoundCost[]>> = {};
  const nodes = options.heads.length > 0 ? usable(options.nodes) : [];
  for (const family of options.heads) {
    const made = await randomHeads(family, engine.decoder, { json, config, weights });
    heads[family] = await costs(family, (count) => made.drafter(count), nodes);
  }
  const all = [...draft, ...Object.values(heads).flat()];
  return {
    output_checked:
      (replayed?.points ?? []).every(({ output_equal }) => output_equal) &&
      all.every(({ output_equal }) => output_equal),
    context,
    plain: { wall_ms: plain.wallMs, gpu_ms: plain.gpuMs, encode_ms: plain.encodeMs },
    replay: replayed,
    draft,
    heads,
    left_out: leftOut,
  };
}
