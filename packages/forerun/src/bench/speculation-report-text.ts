import { table } from '../terminal/table.ts';
import type { RoundCost } from './round-cost.ts';
import type { SpeculationReport } from './speculation-report.ts';

const ms = (value: number | undefined): string => (value === undefined ? '-' : value.toFixed(value < 10 ? 3 : 1));

function replayText({ replay }: SpeculationReport): string[] {
  if (!replay) return [];
  const rows = replay.points.map((point) => [
    String(point.acceptance),
    String(point.width),
    point.tokens_per_second.toFixed(1),
    point.ratio.toFixed(2),
    point.worst_ratio.toFixed(2),
    point.predicted_ratio?.toFixed(2) ?? '-',
    point.acceptance_length.toFixed(2),
    point.output_equal ? 'equal' : 'DIFFERS',
  ]);
  return [
    `replay behind ${replay.context} tokens, ${replay.tokens} tokens a run, ${replay.pairs} pairs with plain runs`,
    table([['accepted', 'rows', 'tokens/s', 'ratio', 'worst', 'predicted', 'tokens/round', 'text'], ...rows]),
  ];
}

function costText(name: string, costs: readonly RoundCost[]): string[] {
  if (costs.length === 0) return [];
  const rows = costs.map((cost) => [
    String(cost.nodes),
    ms(cost.round_ms),
    ms(cost.round_gpu_ms),
    ms(cost.sections_ms?.draft),
    ms(cost.sections_ms?.verify),
    ms(cost.sections_ms?.commit),
    String(cost.dispatches),
    cost.break_even_acceptance_length.toFixed(2),
    cost.output_equal ? 'equal' : 'DIFFERS',
  ]);
  const head = ['nodes', 'wall ms', 'GPU ms', 'draft', 'verify', 'commit', 'dispatches', 'pays from', 'text'];
  return [`${name}: a round, and the tokens that it has to give before it pays`, table([head, ...rows])];
}

/** The report as a person reads it. */
export function speculationReportText(report: SpeculationReport): string {
  const { plain, draft, heads } = report;
  return [
    `plain token at ${report.context}: ${ms(plain.wall_ms)} ms, GPU ${ms(plain.gpu_ms)} ms, encoding ${ms(plain.encode_ms)} ms`,
    ...replayText(report),
    ...costText('draft model', draft),
    ...Object.entries(heads).flatMap(([family, costs]) => costText(`random ${family} heads`, costs)),
    ...report.left_out.map((what) => `left out: ${what}`),
    ...(report.output_checked ? [] : ['Texts differ: these figures compare nothing.']),
  ].join('\n');
}
