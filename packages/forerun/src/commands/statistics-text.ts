import type { GenerationStatistics } from '@forerun/decoding';
import type { AdapterDescription } from '@forerun/tensor';

/** The adapter in words; what is no GPU says so. */
export function adapterText(adapter: AdapterDescription): string {
  const name = adapter.description || adapter.device || adapter.architecture || adapter.vendor || 'unnamed';
  return adapter.kind === 'software' ? `${name} (software, no GPU)` : name;
}

/** What a run did, in one line. */
export function statisticsLine(
  { statistics, drafter }: { readonly statistics: GenerationStatistics; readonly drafter: string },
  adapter: AdapterDescription,
): string {
  const { generatedTokens, rounds, draftedTokens, acceptedTokens, acceptanceLength, tokensPerSecond, stopReason } =
    statistics;
  const { hostMs } = statistics;
  return [
    `${generatedTokens} tokens in ${rounds} rounds (${acceptanceLength.toFixed(2)} a round)`,
    drafter === 'none' ? 'nobody guessed' : `${acceptedTokens} of ${draftedTokens} guesses of ${drafter} accepted`,
    ...(hostMs === undefined ? [] : [`a readback a round, ${hostMs.toFixed(0)} ms in the drafter's function`]),
    `${tokensPerSecond.toFixed(1)} tokens/s`,
    `ended by ${stopReason}`,
    `on ${adapterText(adapter)}`,
  ].join(', ');
}
