import { figure, markdownTable } from './markdown.ts';
import type { EngineResult, Results, RoundRow } from './results.ts';

function replayTable([, { config, arithmetic = 'f32', speculation }]: readonly [string, EngineResult]): string[] {
  const points = speculation?.replay?.points ?? [];
  if (points.length === 0) return [];
  const rows = points.map(({ acceptance, width, acceptance_length, ratio, predicted_ratio }) => [
    figure(acceptance),
    String(width),
    figure(acceptance_length),
    figure(ratio),
    figure(predicted_ratio),
  ]);
  return [
    `### Replay, ${config}, ${arithmetic}`,
    'A recorded text is drafted with some of its tokens replaced by wrong ones; tokens per second against plain runs in turn. Predicted: τ t(1) / t(M).',
    markdownTable(['accepted', 'rows', 'τ', 'ratio', 'predicted'], rows),
  ];
}

function roundTable([, { config, arithmetic = 'f32', speculation }]: readonly [string, EngineResult]): string[] {
  const families: readonly (readonly [string, readonly RoundRow[]])[] = [
    ['draft model', speculation?.draft ?? []],
    ...Object.entries(speculation?.heads ?? {}),
  ];
  const rows = families.flatMap(([family, costs]) =>
    costs.map(({ nodes, round_ms, sections_ms, break_even_acceptance_length }) => [
      family,
      String(nodes),
      figure(round_ms),
      figure(sections_ms?.draft),
      figure(sections_ms?.verify),
      figure(sections_ms?.commit),
      figure(break_even_acceptance_length),
    ]),
  );
  if (rows.length === 0) return [];
  return [
    `### Rounds with random heads, ${config}, ${arithmetic}`,
    'What a round costs; it pays when it gives more tokens than the last column says. Acceptance of random heads means nothing.',
    markdownTable(['drafter', 'nodes', 'round ms', 'draft', 'verify', 'commit', 'pays from τ'], rows),
  ];
}

/** Speculation at real sizes, and of the shipped model. */
export function speculationSection({ engines, models, speculative }: Results): string[] {
  const parts = [...engines.flatMap(replayTable), ...engines.flatMap(roundTable)];
  for (const [file, { tokens, figures }] of models) {
    const rows = figures.map(({ drafter, tokensPerSecond, ratio, statistics }) => [
      drafter,
      figure(tokensPerSecond),
      figure(ratio),
      figure(statistics.acceptanceLength),
    ]);
    parts.push(
      `### The shipped story model`,
      `${tokens} tokens, greedy, the same text in all (\`${file}\`).`,
      markdownTable(['drafter', 'tokens/s', 'against plain', 'tokens a round'], rows),
    );
  }
  for (const [file, { prompts, tokens, rows }] of speculative) {
    parts.push(
      '### Drafters and verifiers on the shipped story model',
      `${prompts} prompts, ${tokens} tokens each, pairs with plain runs (\`${file}\`). Ratio: geometric mean over prompts.`,
      markdownTable(
        ['drafter', 'verifier', 'temperature', 'τ', 'tokens/s', 'ratio', 'slowest prompt'],
        rows.map((row) => [
          row.drafter,
          row.verifier,
          figure(row.temperature),
          figure(row.acceptance_length),
          figure(row.tokens_per_second),
          figure(row.ratio),
          figure(row.min_ratio),
        ]),
      ),
    );
  }
  return parts.length === 0 ? [] : ['## Speculation', ...parts];
}
