/** Drafter x verifier x temperature on a model and prompts: what a round gives, and tokens per second against plain runs beside it. */
import type { Verifier } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { GenerationStatistics } from '@forerun/decoding';
import type { AdapterDescription } from '@forerun/tensor';
import { AbortedError, ArgumentError } from '@forerun/tensor';
import type { DrafterChoice } from '../../model/drafter-choice.ts';
import type { LoadedModel, Prompt } from '../../model/loaded-model.ts';
import { median } from '../median.ts';
import { judgesAt, verifierFor, type VerifierMethod } from './methods.ts';

/** One drafter under one verifier at one temperature. */
export interface SpeculativeRow {
  readonly drafter: string;
  readonly verifier: string;
  readonly temperature: number;
  /** What the verifier promises: the plain tokens, the model's distribution, or neither. */
  readonly exactness: Verifier['exactness'];
  /** Tokens of a pass of the target, τ: all tokens over all passes. */
  readonly acceptance_length: number;
  /** Least of the prompts' own. */
  readonly min_acceptance_length: number;
  readonly acceptance_by_depth: readonly number[];
  /** Medians over prompts of the medians over runs. */
  readonly tokens_per_second: number;
  readonly plain_tokens_per_second: number;
  /** Geometric mean over prompts of the medians over pairs. */
  readonly ratio: number;
  /** Least of the prompts' medians. */
  readonly min_ratio: number;
  readonly rounds_by_width: Readonly<Record<string, number>>;
  /** Whether every text was the plain one; undefined where the verifier does not promise it. */
  readonly output_equal: boolean | undefined;
}

/** What all combinations gave. */
export interface SpeculativeReport {
  readonly adapter: AdapterDescription;
  readonly model: string;
  /** False where a verifier that promises the plain tokens gave others. */
  readonly output_checked: boolean;
  readonly prompts: number;
  readonly tokens: number;
  readonly pairs: number;
  readonly width: number | 'auto';
  readonly rows: readonly SpeculativeRow[];
  /** Combinations that do not fit together, and why. */
  readonly left_out: readonly LeftOut[];
}

/** A combination that was not measured. */
export interface LeftOut {
  readonly drafter: string;
  readonly verifier: string;
  readonly temperature: number;
  readonly why: string;
}

/** What is compared. */
export interface SpeculativeReportOptions {
  readonly prompts: readonly Prompt[];
  readonly drafters: readonly DrafterChoice[];
  readonly verifiers: readonly VerifierMethod[];
  readonly temperatures: readonly number[];
  readonly tokens: number;
  /** Runs of each combination on each prompt, each beside a plain one. */
  readonly pairs: number;
  readonly width: number | 'auto';
  readonly signal?: AbortSignal | undefined;
  readonly onStage?: ((stage: string) => void) | undefined;
  /** Called with each row as soon as it is measured. */
  readonly onRow?: ((row: SpeculativeRow) => void) | undefined;
}

interface Run {
  readonly text: string;
  readonly statistics: GenerationStatistics;
}

/** Runs of one drafter on one prompt. */
interface Series {
  readonly runs: Run[];
  readonly ratios: number[];
}

const nameOf = (drafter: DrafterChoice): string => (typeof drafter === 'string' ? drafter : drafter.name);

const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

class Comparison {
  readonly #model: LoadedModel;
  readonly #options: SpeculativeReportOptions;
  readonly leftOut: LeftOut[] = [];

  constructor(model: LoadedModel, options: SpeculativeReportOptions) {
    this.#model = model;
    this.#options = options;
  }

  async #run(prompt: readonly number[], { drafter, verifier }: Candidate, temperature: number): Promise<Run> {
    const { tokens, width, signal } = this.#options;
    const { tokens: given, statistics } = await this.#model.generate(prompt, {
      drafter,
      verifier,
      maxTokens: tokens,
      stopTokens: [],
      stopStrings: [],
      sampling: { ...plainSampling, temperature },
      ...(drafter === 'none' ? {} : { width }),
      ...(signal ? { signal } : {}),
    }).result;
    if (signal?.aborted) throw new AbortedError('The comparison was aborted.');
    return { text: given.join(), statistics };
  }

  /** The drafters that the rule can judge, with what they compile and measure done. */
  async #fitting({ method, temperature }: Setting): Promise<Candidate[]> {
    const { drafters, width, prompts } = this.#options;
    const fitting: Candidate[] = [];
    for (const drafter of drafters) {
      try {
        const verifier = verifierFor(method, this.#model.drafter(drafter)!);
        using conversation = this.#model.open({ drafter, verifier });
        if (width === 'auto') await conversation.ready();
        // Some rules take chains only and say so when their round is traced.
        const request = { prompt: this.#encoded(prompts[0]!), maxTokens: 2, sampling: { temperature, seed: 1 } };
        const rows = width === 'auto' ? (conversation.readyWidths.find((ready) => ready > 1) ?? 1) : width;
        for await (const step of conversation.generate({ ...request, width: rows })) void step;
        fitting.push({ drafter, verifier });
      } catch (error) {
        if (!(error instanceof MismatchedPartsError || error instanceof ArgumentError)) throw error;
        this.leftOut.push({ drafter: nameOf(drafter), verifier: method.name, temperature, why: error.message });
      }
    }
    return fitting;
  }

  #encoded(prompt: Prompt): readonly number[] {
    const { tokens } = this.#options;
    const { capacityTokens } = this.#model.engine;
    // Long prompts are cut at the front, so that the text to come fits behind them.
    const ids = this.#model.encode(prompt);
    return ids.slice(Math.max(0, ids.length - Math.max(1, capacityTokens - tokens - 1)));
  }

  /** All drafters under one rule at one temperature. */
  async rows(setting: Setting): Promise<SpeculativeRow[]> {
    const { prompts, pairs, onStage = () => undefined, onRow = () => undefined } = this.#options;
    const { method, temperature } = setting;
    const candidates = await this.#fitting(setting);
    if (candidates.length === 0) return [];
    const bare: Candidate = { drafter: 'none', verifier: method.drawn };
    const plain: Series[] = [];
    const series = candidates.map((): Series[] => []);
    for (const [index, prompt] of prompts.entries()) {
      onStage(`${method.name} at ${temperature}: prompt ${index + 1} of ${prompts.length}`);
      const ids = this.#encoded(prompt);
      plain.push({ runs: [], ratios: [] });
      for (const list of series) list.push({ runs: [], ratios: [] });
      // The first run pays for first use.
      for (let pair = 0; pair <= pairs; pair++) {
        const one = await this.#run(ids, bare, temperature);
        if (pair > 0) plain[index]!.runs.push(one);
        for (const [at, candidate] of candidates.entries()) {
          const other = await this.#run(ids, candidate, temperature);
          if (pair === 0) continue;
          const { runs, ratios } = series[at]![index]!;
          runs.push(other);
          ratios.push(other.statistics.tokensPerSecond / one.statistics.tokensPerSecond);
        }
      }
    }
    const rows = candidates.map((candidate, at) => row({ candidate, setting, plain, series: series[at]! }));
    for (const one of rows) onRow(one);
    return rows;
  }
}

/** A drafter, and the form of the rule that judges it. */
interface Candidate {
  readonly drafter: DrafterChoice;
  readonly verifier: Verifier;
}

interface Setting {
  readonly method: VerifierMethod;
  readonly temperature: number;
}

/** Neither filters nor penalties of the checkpoint's own defaults, so that rules are compared on the model's distribution. */
const plainSampling = {
  seed: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
} as const;

function row(parts: {
  candidate: Candidate;
  setting: Setting;
  plain: readonly Series[];
  series: readonly Series[];
}): SpeculativeRow {
  const { candidate, setting, plain, series } = parts;
  const { drafter, verifier } = candidate;
  const { method, temperature } = setting;
  const all = series.flatMap(({ runs }) => runs.map(({ statistics }) => statistics));
  const rate = (list: readonly Series[]) =>
    median(list.map(({ runs }) => median(runs.map(({ statistics }) => statistics.tokensPerSecond))));
  const length = (list: readonly GenerationStatistics[]) =>
    list.reduce((sum, { generatedTokens }) => sum + generatedTokens, 0) /
    Math.max(
      1,
      list.reduce((sum, { rounds }) => sum + rounds, 0),
    );
  const ratios = series.map(({ ratios: own }) => median(own));
  const depths = Math.max(0, ...all.map(({ acceptanceByDepth }) => acceptanceByDepth.length));
  const roundsByWidth: Record<string, number> = {};
  for (const { roundsByWidth: own } of all) {
    for (const [width, rounds] of Object.entries(own)) roundsByWidth[width] = (roundsByWidth[width] ?? 0) + rounds;
  }
  const texts = series.map(({ runs }) => runs.map(({ text }) => text));
  const equal = texts.every((own, prompt) => own.every((text) => text === plain[prompt]!.runs[0]!.text));
  return {
    drafter: nameOf(drafter),
    verifier: method.name,
    temperature,
    exactness: verifier.exactness,
    acceptance_length: length(all),
    min_acceptance_length: Math.min(...series.map(({ runs }) => length(runs.map(({ statistics }) => statistics)))),
    acceptance_by_depth: Array.from({ length: depths }, (_, depth) => {
      const reached = all.filter(({ acceptanceByDepth }) => acceptanceByDepth.length > depth);
      return reached.reduce((sum, { acceptanceByDepth }) => sum + acceptanceByDepth[depth]!, 0) / reached.length;
    }),
    tokens_per_second: rate(series),
    plain_tokens_per_second: rate(plain),
    ratio: geometricMean(ratios),
    min_ratio: Math.min(...ratios),
    rounds_by_width: roundsByWidth,
    output_equal: verifier.exactness === 'tokens' ? equal : undefined,
  };
}

/**
 * Compares drafters under verifiers at temperatures. Combinations that do not fit are left out and named.
 *
 * @throws {@link ArgumentError} without prompts; {@link AbortedError}; the errors of `generate`.
 */
export async function reportSpeculative(
  model: LoadedModel,
  options: SpeculativeReportOptions,
): Promise<SpeculativeReport> {
  const { prompts, verifiers, temperatures, tokens, pairs, width } = options;
  if (prompts.length === 0) throw new ArgumentError('bench speculative needs at least one prompt, got none.');
  const comparison = new Comparison(model, options);
  const rows: SpeculativeRow[] = [];
  for (const temperature of temperatures) {
    for (const method of verifiers) {
      if (judgesAt(method, temperature)) rows.push(...(await comparison.rows({ method, temperature })));
    }
  }
  return {
    adapter: model.adapter,
    model: model.name,
    output_checked: rows.every(({ output_equal }) => output_equal !== false),
    prompts: prompts.length,
    tokens,
    pairs,
    width,
    rows,
    left_out: comparison.leftOut,
  };
}
