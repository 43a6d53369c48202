import { bar } from '../../terminal/bar.ts';
import { table } from '../../terminal/table.ts';
import type { SpeculativeReport } from './speculative-report.ts';

const barCells = 24;

/** A line for each reason, with the combinations that have it. */
function leftOutText({ left_out }: SpeculativeReport): string[] {
  const byWhy = new Map<string, Set<string>>();
  for (const { drafter, verifier, why } of left_out) {
    byWhy.set(why, (byWhy.get(why) ?? new Set()).add(`${drafter} under ${verifier}`));
  }
  return [...byWhy].map(([why, combinations]) => `left out: ${[...combinations].join(', ')}. ${why}`);
}

/** The report as a person reads it: a table with a bar for each ratio, whose `|` stands at plain decoding. */
export function speculativeReportText(report: SpeculativeReport): string {
  const { rows } = report;
  const most = Math.max(1.25, ...rows.map(({ ratio }) => ratio));
  const lines = rows.map((row) => [
    row.drafter,
    row.verifier,
    row.temperature.toFixed(1),
    row.acceptance_length.toFixed(2),
    row.min_acceptance_length.toFixed(2),
    row.tokens_per_second.toFixed(1),
    row.ratio.toFixed(2),
    row.min_ratio.toFixed(2),
    { undefined: row.exactness, true: 'equal', false: 'DIFFERS' }[String(row.output_equal) as 'true'],
    bar(row.ratio / most, { cells: barCells, mark: 1 / most }),
  ]);
  const head = ['drafter', 'verifier', 'temp', 'τ', 'min τ', 'tokens/s', 'ratio', 'min', 'text', ''];
  return [
    `${report.prompts} prompts, ${report.tokens} tokens, ${report.pairs} pairs with plain runs, rows of a round: ${report.width}`,
    table([head, ...lines]),
    ...leftOutText(report),
    ...(report.output_checked ? [] : ['A verifier that promises the plain tokens gave others.']),
  ].join('\n');
}
