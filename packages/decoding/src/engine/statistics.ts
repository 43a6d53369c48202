import { loopWords } from '@forerun/contracts';
import { loopLayout, maxDepths, stopReasons } from '../loop/loop-states.ts';
import type { PhaseTimes } from './round-report.ts';

/** Why generation ended. */
export type StopReason = 'stop-token' | 'stop-string' | 'max-tokens' | 'capacity' | 'aborted' | 'abandoned';

/** What a run did. */
export interface GenerationStatistics {
  readonly promptTokens: number;
  /** Tokens of the prompt that were still in the cache. */
  readonly reusedTokens: number;
  /** Tokens that were kept. */
  readonly generatedTokens: number;
  /** Passes of the target after prefill. */
  readonly rounds: number;
  /** Draft tokens verified and accepted. */
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
  /** Tokens per pass of the target, the bonus token included. */
  readonly acceptanceLength: number;
  /**
   * At each depth, from depth 1: of the rounds whose accepted path reached the depth before and had drafts verified under its row there,
   * the share that accepted one. In a chain that is the share of drafts accepted at each depth that was reached.
   */
  readonly acceptanceByDepth: readonly number[];
  /** Rounds at each width. */
  readonly roundsByWidth: Readonly<Record<number, number>>;
  readonly prefillMs: number;
  /** From the end of prefill to the last token. */
  readonly decodeMs: number;
  /** Of it, waiting for a readback. */
  readonly readbackMs: number;
  /** Of decodeMs, in the drafter's function on the host, with a drafter that has one: such rounds wait for a readback each. */
  readonly hostMs?: number;
  readonly tokensPerSecond: number;
  /** Time of the GPU in the parts of all rounds, where `rounds` was asked for on a device with `timestamp-query`. */
  readonly times?: PhaseTimes;
  readonly stopReason: StopReason | undefined;
}

/** What the host saw of a run. */
export interface RunRecord extends Pick<
  GenerationStatistics,
  'promptTokens' | 'reusedTokens' | 'generatedTokens' | 'roundsByWidth' | 'prefillMs' | 'decodeMs' | 'readbackMs'
> {
  /** Counters of the last round that was read; undefined where none was. */
  readonly counters: LoopCounters | undefined;
  readonly hostMs: number | undefined;
  readonly times: PhaseTimes | undefined;
  readonly stopReason: StopReason | undefined;
}

/** Statistics of a run. */
export function generationStatistics({ counters, hostMs, times, ...seen }: RunRecord): GenerationStatistics {
  const { rounds = 0, produced = 0 } = counters ?? {};
  return {
    ...seen,
    rounds,
    draftedTokens: counters?.drafted ?? 0,
    acceptedTokens: counters?.accepted ?? 0,
    acceptanceLength: rounds === 0 ? 0 : produced / rounds,
    acceptanceByDepth: counters?.acceptanceByDepth ?? [],
    ...(hostMs === undefined ? {} : { hostMs }),
    tokensPerSecond: seen.decodeMs > 0 ? (seen.generatedTokens / seen.decodeMs) * 1000 : 0,
    ...(times ? { times } : {}),
  };
}

/** Counters that the GPU keeps, read from the loop state. */
export interface LoopCounters {
  readonly stopped: boolean;
  readonly reason: (typeof stopReasons)[number];
  readonly length: number;
  readonly produced: number;
  readonly rounds: number;
  readonly drafted: number;
  readonly accepted: number;
  readonly acceptanceByDepth: readonly number[];
  /** The last verified tree. */
  readonly proposal: { readonly tokens: readonly number[]; readonly acceptedRows: number };
}

/** Decodes the loop state's words. */
export function loopCounters(
  words: ArrayLike<number> & { subarray(begin: number, end: number): ArrayLike<number> },
): LoopCounters {
  const at = (begin: number, count: number) => Array.from(words.subarray(begin, begin + count));
  const drafted = at(loopLayout.draftedAtDepth, maxDepths);
  const accepted = at(loopLayout.acceptedAtDepth, maxDepths);
  const depths = drafted.findLastIndex((count) => count > 0) + 1;
  return {
    stopped: words[loopWords.stop] !== 0,
    reason: stopReasons[words[loopWords.reason]!] ?? 'none',
    length: words[loopWords.length]!,
    produced: words[loopWords.produced]!,
    rounds: words[loopWords.rounds]!,
    drafted: words[loopWords.drafted]!,
    accepted: words[loopWords.accepted]!,
    acceptanceByDepth: drafted.slice(0, depths).map((count, depth) => (count === 0 ? 0 : accepted[depth]! / count)),
    proposal: {
      tokens: at(loopLayout.proposal, words[loopLayout.proposalCount]!),
      acceptedRows: words[loopLayout.proposalAccepted]!,
    },
  };
}
