/**
 * Speculation whose acceptance is given: a recording of the plain text is replayed with some of its tokens replaced by wrong ones. So the
 * loop's whole gain can be measured on weights that mean nothing, and held to what the cost of a round predicts.
 */
import type { Conversation, Engine } from '@forerun/decoding';
import type { ReplayState } from '@forerun/drafters';
import { replay, unrecorded } from '@forerun/drafters';
import { philox } from '@forerun/tensor';
import { median } from './median.ts';
import type { RoundTime } from './round-timing.ts';
import { openLoopWords, timeRounds } from './round-timing.ts';

/** One acceptance at one width. */
export interface ReplayPoint {
  /** Chance that a draft is right. */
  readonly acceptance: number;
  /** Rows of a round, or `auto` where the width policy chose. */
  readonly width: number | 'auto';
  readonly tokens_per_second: number;
  readonly plain_tokens_per_second: number;
  /** Median of the pairs' ratios. */
  readonly ratio: number;
  /** Least of them. */
  readonly worst_ratio: number;
  /** Tokens of a round, τ, as they came. */
  readonly acceptance_length: number;
  /** τ t(1) / t(M); undefined where the width changed from round to round. */
  readonly predicted_ratio: number | undefined;
  /** Whether every text was the plain one. */
  readonly output_equal: boolean;
}

/** What replaying a recording gives on an engine. */
export interface ReplayReport {
  /** Tokens before the first that is generated, tokens of a run, and pairs of a point. */
  readonly context: number;
  readonly tokens: number;
  readonly pairs: number;
  /** Wall time of a round by width, several in flight, in ms; 1 is a step of plain decoding. */
  readonly round_ms: Readonly<Record<string, number>>;
  readonly round_gpu_ms: Readonly<Record<string, number | undefined>>;
  readonly points: readonly ReplayPoint[];
  /** Of each acceptance the fixed width that gave most. */
  readonly best: readonly ReplayPoint[];
}

/** What is measured. */
export interface ReplayReportOptions {
  readonly prompt: readonly number[];
  readonly tokens: number;
  readonly pairs: number;
  readonly acceptances: readonly number[];
  /** Rows of a round, all above 1, whose rows have the bits of width 1. */
  readonly widths: readonly number[];
  readonly rounds: number;
  readonly trials: number;
  readonly onStage?: ((stage: string) => void) | undefined;
  /** Called with each point as soon as it is measured. */
  readonly onMeasured?: ((figure: object) => void) | undefined;
}

const seed = 7;

/** A recording in which a token is right with probability `acceptance`. The coin of a position is always the same. */
export function corrupted(
  tokens: readonly number[],
  { acceptance, vocabSize, from }: { acceptance: number; vocabSize: number; from: number },
): Uint32Array<ArrayBuffer> {
  const right = Math.round(acceptance * 2 ** 32);
  return Uint32Array.from(tokens, (token, position) => {
    const [coin, step] = philox([position, 0, 0, 0], [seed, 0]);
    const kept = position < from || coin < right || vocabSize < 2;
    return kept ? token : (token + 1 + (step % (vocabSize - 1))) % vocabSize;
  });
}

/** Tokens of a run, and how it went. */
async function run(
  conversation: Conversation,
  request: { prompt: readonly number[]; maxTokens: number; width?: number | 'auto'; widths?: readonly number[] },
): Promise<{ readonly text: string; readonly rate: number; readonly rounds: number; readonly tokens: number }> {
  for await (const step of conversation.generate({ ...request, stopTokens: [] })) void step;
  const { tokensPerSecond, rounds, generatedTokens } = conversation.statistics!;
  const text = conversation.tokens.slice(request.prompt.length).join();
  return { text, rate: tokensPerSecond, rounds, tokens: generatedTokens };
}

/** Measures replay at every acceptance and width, in pairs with plain runs. */
export async function reportReplay(engine: Engine, options: ReplayReportOptions): Promise<ReplayReport> {
  const { prompt, tokens, pairs, acceptances, widths, rounds, trials } = options;
  const { onStage = () => undefined, onMeasured = () => undefined } = options;
  const { vocabSize } = engine.decoder;
  const drafter = replay();
  const speculation = engine.speculation(drafter);
  const { recording } = speculation.drafterState as ReplayState;

  const times: Record<string, RoundTime> = {};
  const states = speculation.allocate();
  try {
    // Every row is in use, and next to none is kept.
    states.write(recording, new Uint32Array(recording.shape[0]!).fill(1 % vocabSize));
    for (const width of [1, ...widths]) {
      onStage(`round of ${width} rows`);
      const program = await speculation.round(width);
      const words = openLoopWords(engine, prompt.length);
      times[width] = await timeRounds(engine, program, { states, words, rounds, width, trials });
    }
  } finally {
    states.destroy();
  }

  using plain = engine.open();
  const longest = Math.max(...widths, 1);
  await run(plain, { prompt, maxTokens: Math.min(tokens + longest, engine.capacityTokens - prompt.length) });
  const recorded = [...plain.tokens];
  const expected = recorded.slice(prompt.length, prompt.length + tokens).join();
  if (widths.length > 0) await speculation.prepare(widths);
  const points: ReplayPoint[] = [];
  for (const acceptance of acceptances) {
    const guesses = new Uint32Array(recording.shape[0]!).fill(unrecorded);
    guesses.set(corrupted(recorded, { acceptance, vocabSize, from: prompt.length }));
    for (const width of [...widths, 'auto'] as const) {
      onStage(`replay at acceptance ${acceptance}, ${width} rows`);
      using conversation = engine.open({ drafter });
      conversation.states.write(recording, guesses);
      const ratios: number[] = [];
      const rates: number[] = [];
      const plainRates: number[] = [];
      let [given, made] = [0, 0];
      let equal = true;
      const request = { prompt, maxTokens: tokens, width, widths };
      // The first run pays for prefill and first use.
      for (let pair = 0; pair <= pairs; pair++) {
        const one = await run(plain, { prompt, maxTokens: tokens });
        const other = await run(conversation, request);
        equal &&= one.text === expected && other.text === expected;
        if (pair === 0) continue;
        rates.push(other.rate);
        plainRates.push(one.rate);
        ratios.push(other.rate / one.rate);
        given += other.tokens;
        made += other.rounds;
      }
      const acceptanceLength = made === 0 ? 0 : given / made;
      const predicted = width === 'auto' ? undefined : (acceptanceLength * times[1]!.wallMs) / times[width]!.wallMs;
      const point: ReplayPoint = {
        acceptance,
        width,
        tokens_per_second: median(rates),
        plain_tokens_per_second: median(plainRates),
        ratio: median(ratios),
        worst_ratio: Math.min(...ratios),
        acceptance_length: acceptanceLength,
        predicted_ratio: predicted,
        output_equal: equal,
      };
      points.push(point);
      onMeasured({ replay: point });
    }
  }
  const by = (of: (time: RoundTime) => number | undefined) =>
    Object.fromEntries(Object.entries(times).map(([width, time]) => [width, of(time)]));
  return {
    context: prompt.length,
    tokens,
    pairs,
    round_ms: by(({ wallMs }) => wallMs) as Record<string, number>,
    round_gpu_ms: by(({ gpuMs }) => gpuMs),
    points,
    best: acceptances.flatMap((acceptance) => {
      const fixed = points.filter((point) => point.acceptance === acceptance && point.width !== 'auto');
      return fixed.length > 0 ? [fixed.reduce((best, point) => (point.ratio > best.ratio ? point : best))] : [];
    }),
  };
}
