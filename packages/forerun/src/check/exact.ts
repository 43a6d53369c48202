/**
 * Compares speculative with plain output, token for token, with every drafter that a checkpoint can use. Equality is the promise of
 * every verifier whose exactness is 'tokens'; those that keep only the distribution are left out by their type.
 */
import type { Drafter, Verifier } from '@forerun/contracts';
import type { Conversation, GenerationStatistics, SamplingSettings } from '@forerun/decoding';
import { replay, type ReplayState } from '@forerun/drafters';
import type { Device } from '@forerun/tensor';
import { ArgumentError } from '@forerun/tensor';
import { greedy, sampleAndMatch } from '@forerun/verifiers';
import { load } from '../load/load.ts';
import type { ModelSource } from '../load/source.ts';
import type { LoadedModel } from '../model/loaded-model.ts';
import { type ExactPrompt, exactPrompts } from './exact-prompts.ts';

/** How plain and speculative output are compared. */
export interface ExactOptions {
  /** Tokens of each comparison, summed over its prompts; 64 by default on a software adapter, 1,000 on a GPU. */
  readonly tokens?: number;
  /** A draft model of the same vocabulary. */
  readonly draft?: ModelSource | undefined;
  /** Heads made for the checkpoint. */
  readonly heads?: readonly ModelSource[] | undefined;
  /** Rows of the rounds that are compared; 2, 4 and 8 by default in software, and 16 and 32 on a GPU. */
  readonly widths?: readonly number[];
  /** Called with each comparison when it is done. */
  readonly onComparison?: (comparison: ExactComparison) => void;
  readonly signal?: AbortSignal | undefined;
}

/** One setting, compared over all prompts. */
export interface ExactComparison {
  readonly name: string;
  readonly verifier: string;
  readonly drafter: string;
  readonly width: number;
  readonly temperature: number;
  readonly penalties: boolean;
  /** Tokens that agree before the first of a prompt that does not, summed over prompts, of how many. */
  readonly matched: number;
  readonly total: number;
  readonly accepted: number;
  readonly rejected: number;
  /** What is wrong; undefined when nothing is. */
  readonly problem: string | undefined;
}

/** What a checkpoint's comparisons gave. */
export interface ExactResult {
  readonly name: string;
  readonly comparisons: readonly ExactComparison[];
  /** Widths whose rows do not have the bits of width 1 on this device. They are never used, and were not compared. */
  readonly withdrawnWidths: readonly number[];
  readonly ok: boolean;
}

interface Candidate {
  readonly drafter: Drafter;
  readonly width: number;
  /** Set for replay: the probability with which a recorded token was replaced by a wrong one. */
  readonly corruption?: number;
}

interface Setting {
  readonly verifier: Verifier;
  readonly sampling: Partial<SamplingSettings> & { readonly temperature: number };
  readonly penalties: boolean;
}

const temperatures = [0, 0.7, 1] as const;
const corruptions = [0, 0.3, 1] as const;
const penaltySettings = { repetitionPenalty: 1.3, presencePenalty: 0.4, frequencyPenalty: 0.2 } as const;
const widthsOf = { software: [2, 4, 8], hardware: [2, 4, 8, 16, 32] } as const;
const tokensOf = { software: 64, hardware: 1000 } as const;
const perPromptOf = { software: 32, hardware: 250 } as const;

/**
 * Loads a checkpoint and compares its speculative with its plain output: every drafter x width x temperature x penalties.
 *
 * A replay that had nothing accepted or nothing rejected though its corruption allows both counts as a failure: its equality would
 * say nothing.
 *
 * @throws the errors of `load`; {@link AbortedError}. Output that differs is no error.
 */
export async function checkExact(
  source: ModelSource,
  device: Device,
  options: ExactOptions = {},
): Promise<ExactResult> {
  const { kind } = device.adapter;
  const { tokens = tokensOf[kind], widths = widthsOf[kind], draft, heads, signal } = options;
  if (!Number.isInteger(tokens) || tokens < 1)
    throw new ArgumentError(`tokens must be a whole number of at least 1, got ${tokens}.`);
  const model = await load(source, { device, draft, heads, signal });
  try {
    const { engine } = model;
    const prompts = exactPrompts(model, { tokens, perPromptTokens: perPromptOf[kind] });
    const exact = await engine.exactWidths(widths);
    const name = model.name.split(/[\\/]/).findLast((part) => part !== '') ?? model.name;
    const candidates = candidatesOf(model, exact, widths);
    const comparisons: ExactComparison[] = [];
    for (const setting of settings()) {
      const plain = await runAll(model, prompts, { setting, signal });
      for (const candidate of candidates) {
        const run = await runAll(model, prompts, { setting, signal, candidate, recordings: plain.texts });
        const comparison = { name, ...compare(plain, run, { setting, candidate }) };
        comparisons.push(comparison);
        options.onComparison?.(comparison);
      }
    }
    return {
      name,
      comparisons,
      withdrawnWidths: widths.filter((width) => !exact.has(width)),
      ok: comparisons.length > 0 && comparisons.every(({ problem }) => problem === undefined),
    };
  } finally {
    model.close();
  }
}

/** Every drafter that the checkpoint can use, at every width. */
function candidatesOf(model: LoadedModel, exact: ReadonlySet<number>, widths: readonly number[]): Candidate[] {
  const named = model.drafters.flatMap((name) => model.drafter(name) ?? []);
  const drafters = [
    ...named.map((drafter) => ({ drafter })),
    ...corruptions.map((corruption) => ({ drafter: replay({ corruption, seed: 7 }), corruption })),
  ];
  return drafters.flatMap((one) => widths.filter((width) => exact.has(width)).map((width) => ({ ...one, width })));
}

function* settings(): Generator<Setting> {
  for (const verifier of [sampleAndMatch(), greedy()].filter(({ exactness }) => exactness === 'tokens')) {
    for (const temperature of verifier.name === 'greedy' ? [0] : temperatures) {
      for (const penalties of [false, true]) {
        yield { verifier, penalties, sampling: { temperature, seed: 5, ...(penalties ? penaltySettings : {}) } };
      }
    }
  }
}

/** What all prompts gave under one setting. */
interface RunOutcome {
  /** Prompt and continuation of each. */
  readonly texts: readonly (readonly number[])[];
  readonly promptLengths: readonly number[];
  readonly accepted: number;
  readonly rejected: number;
}

async function runAll(
  model: LoadedModel,
  prompts: readonly ExactPrompt[],
  options: {
    setting: Setting;
    signal: AbortSignal | undefined;
    candidate?: Candidate;
    recordings?: readonly (readonly number[])[];
  },
): Promise<RunOutcome> {
  const { setting, signal, candidate, recordings } = options;
  const texts: (readonly number[])[] = [];
  let accepted = 0;
  let rejected = 0;
  for (const [index, { prompt, maxTokens }] of prompts.entries()) {
    const { drafter, corruption, width } = candidate ?? {};
    using conversation = model.open({ drafter: drafter ?? 'none', verifier: setting.verifier });
    if (corruption !== undefined)
      record(model, conversation, { setting, drafter: drafter!, tokens: recordings![index]! });
    const request = {
      prompt,
      maxTokens,
      sampling: setting.sampling,
      ...(width ? { width } : {}),
      ...(signal ? { signal } : {}),
    };
    for await (const step of conversation.generate(request)) void step;
    const statistics: GenerationStatistics = conversation.statistics!;
    texts.push([...conversation.tokens]);
    accepted += statistics.acceptedTokens;
    rejected += statistics.draftedTokens - statistics.acceptedTokens;
  }
  return { texts, promptLengths: prompts.map(({ prompt }) => prompt.length), accepted, rejected };
}

/** Gives a replay drafter what it is to guess. */
function record(
  model: LoadedModel,
  conversation: Conversation,
  { setting, drafter, tokens }: { setting: Setting; drafter: Drafter; tokens: readonly number[] },
): void {
  const state = model.engine.speculation(drafter, setting.verifier).drafterState as ReplayState;
  conversation.states.write(state.recording, Uint32Array.from(tokens));
}

function compare(
  plain: RunOutcome,
  run: RunOutcome,
  { setting, candidate }: { setting: Setting; candidate: Candidate },
): Omit<ExactComparison, 'name'> {
  let matched = 0;
  let total = 0;
  let difference: string | undefined;
  for (const [index, expected] of plain.texts.entries()) {
    const came = run.texts[index]!;
    const begin = plain.promptLengths[index]!;
    let at = begin;
    while (at < expected.length && came[at] === expected[at]) at++;
    matched += at - begin;
    total += expected.length - begin;
    const longer = came.length > expected.length;
    if (at < expected.length || longer) {
      difference ??= `prompt ${index}, token ${at - begin}: plain ${expected[at] ?? 'ended'}, speculative ${came[at] ?? 'ended'}`;
    }
  }
  const { drafter, width, corruption } = candidate;
  const { accepted, rejected } = run;
  return {
    verifier: setting.verifier.name,
    drafter: corruption === undefined ? drafter.name : `${drafter.name} (coin ${corruption})`,
    width,
    temperature: setting.sampling.temperature,
    penalties: setting.penalties,
    matched,
    total,
    accepted,
    rejected,
    problem: difference ?? emptiness({ corruption, accepted, rejected }),
  };
}

/** Why an equality says nothing, if so: a replay must have had its guesses both accepted and rejected. */
function emptiness(run: { corruption: number | undefined; accepted: number; rejected: number }): string | undefined {
  if (run.corruption === undefined) return undefined;
  if (run.corruption < 1 && run.accepted === 0) return 'no draft was accepted';
  if (run.corruption > 0 && run.rejected === 0) return 'no draft was rejected';
  return undefined;
}

/** The line that `forerun check --exact` prints for a comparison. */
export function exactLine(comparison: ExactComparison): string {
  const { name, verifier, drafter, width, temperature, penalties, matched, total, accepted, rejected, problem } =
    comparison;
  return [
    name,
    verifier,
    drafter,
    `width=${width}`,
    `temperature=${temperature}`,
    `penalties=${penalties ? 'on' : 'off'}`,
    `equal=${matched}/${total}`,
    `accepted=${accepted}`,
    `rejected=${rejected}`,
    problem === undefined ? 'ok' : `FAILED (${problem})`,
  ].join('  ');
}
