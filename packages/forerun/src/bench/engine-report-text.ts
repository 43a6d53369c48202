import { bar } from '../terminal/bar.ts';
import { table } from '../terminal/table.ts';
import type { EngineReport } from './engine-report.ts';

const ms = (value: number | undefined): string => (value === undefined ? '-' : value.toFixed(value < 10 ? 3 : 1));

/** Kernels that get a line; the rest is short. */
const shownKernels = 16;

/** The report as a person reads it. */
export function engineReportText(report: EngineReport): string {
  const { check, widths, prefill, memory } = report;
  const one = widths['1'] ?? Object.values(widths)[0]!;
  const steps = report.contexts.map((step) => [
    `step at ${step.context}`,
    ms(step.ms_per_token),
    ms(step.gpu_ms),
    ms(step.encode_ms),
    ms(step.floor_ms),
    `${(100 * step.fraction_of_floor).toFixed(0)} %`,
    String(step.dispatches),
  ]);
  const worst = Math.max(...check.kernels.map(({ relativeError }) => relativeError));
  const longest = report.kernels[0]?.ms ?? 0;
  const kernels = report.kernels
    .slice(0, shownKernels)
    .map((kernel) => [
      kernel.name.replaceAll('.weight', ''),
      String(kernel.dispatches),
      ms(kernel.ms),
      ms(kernel.floor_ms),
      `${((100 * kernel.floor_ms) / Math.max(kernel.ms, 1e-9)).toFixed(0)} %`,
      bar(kernel.ms / Math.max(longest, 1e-9), { cells: 24, mark: kernel.floor_ms / Math.max(longest, 1e-9) }),
    ]);
  const off = check.layers.flatMap(({ problem, rows }) =>
    problem === undefined ? [] : [`layer of ${rows} rows: ${problem}`],
  );
  return [
    `outputs ${report.output_checked ? 'checked' : 'WRONG'}: ${check.kernels.length} products of matrices within ${worst.toExponential(1)} of float64, a layer at ${check.layers.length} numbers of rows; row bits equal at widths ${check.exactWidths.join(', ')}`,
    ...off,
    `bandwidth ${report.bandwidth_gb_per_s.toPrecision(3)} GB/s, ${report.pipelines} pipelines`,
    table([['', 'wall ms', 'GPU ms', 'encode ms', 'floor ms', 'of floor', 'dispatches'], ...steps]),
    ...(kernels.length > 0
      ? [table([[`kernels at ${report.decode.context}`, 'dispatches', 'ms', 'floor', 'of floor', ''], ...kernels])]
      : []),
    table([
      ['rows', 'ms', 'of one row'],
      ...Object.entries(widths).map(([width, time]) => [width, ms(time), (time / one).toFixed(2)]),
    ]),
    ...Object.entries(prefill).map(([tokens, time]) => `prefill of ${tokens}: ${ms(time)} ms`),
    `memory reckoned ${(memory.reckoned_bytes / 1e6).toFixed(0)} MB, held ${(memory.held_bytes / 1e6).toFixed(0)} MB, at most ${(memory.peak_bytes / 1e6).toFixed(0)} MB`,
    ...report.left_out.map((what) => `left out: ${what}`),
  ].join('\n');
}
