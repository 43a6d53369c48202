/** Results of benchmarks as charts, in Vega-Lite's language. */
import type { TopLevelSpec } from 'vega-lite';

/** A result file that no chart is drawn of. */
export class PlotError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'PlotError';
  }
}

/** A row of `forerun bench speculative --json`, as far as it is drawn. */
interface SpeculativeRow {
  readonly drafter: string;
  readonly verifier: string;
  readonly temperature: number;
  readonly acceptance_length: number;
  readonly ratio: number;
  readonly min_ratio: number;
}

/** A point of `forerun bench --random --speculation --json`, as far as it is drawn. */
interface ReplayPoint {
  readonly acceptance: number;
  readonly width: number | 'auto';
  readonly ratio: number;
  readonly predicted_ratio?: number;
}

/** Plain decoding. */
const plainRule = {
  mark: { type: 'rule' as const, strokeDash: [4, 3], color: '#666' },
  encoding: { y: { datum: 1 } },
};

/** Drafters side by side under each verifier and temperature: bars from the slowest prompt to the mean, and plain decoding as a line. */
export function speculativeChart(rows: readonly SpeculativeRow[], title: string): TopLevelSpec {
  const values = rows.map((row) => ({ ...row, setting: `${row.verifier}, temperature ${row.temperature}` }));
  const bars = {
    mark: { type: 'bar', opacity: 0.75 },
    encoding: {
      x: { field: 'drafter', type: 'nominal', title: null },
      y: ratioAxis('ratio'),
      color: { field: 'drafter', legend: null },
    },
  } as const;
  const least = {
    mark: { type: 'tick', thickness: 2, color: '#222' },
    encoding: { x: { field: 'drafter', type: 'nominal' }, y: { field: 'min_ratio', type: 'quantitative' } },
  } as const;
  const lengths = {
    mark: { type: 'text', dy: -6, fontSize: 9 },
    encoding: {
      x: { field: 'drafter', type: 'nominal' },
      y: { field: 'ratio', type: 'quantitative' },
      text: { field: 'acceptance_length', format: '.2f' },
    },
  } as const;
  return {
    title: { text: title, subtitle: 'bar: geometric mean over prompts; tick: slowest prompt; number: tokens a pass' },
    data: { values },
    facet: { field: 'setting', type: 'nominal', title: null },
    columns: 3,
    spec: {
      width: 30 * new Set(rows.map(({ drafter }) => drafter)).size + 40,
      height: 180,
      layer: [bars, least, lengths, plainRule],
    },
  };
}

/** Gain against acceptance, a line for each width, and what the cost of a round predicts as dashes. */
export function replayChart(points: readonly ReplayPoint[], title: string): TopLevelSpec {
  const values = points.flatMap(({ acceptance, width, ratio, predicted_ratio }) => [
    { acceptance, width: String(width), ratio, kind: 'measured' },
    ...(predicted_ratio === undefined
      ? []
      : [{ acceptance, width: String(width), ratio: predicted_ratio, kind: 'predicted' }]),
  ]);
  const order = [...new Set(points.map(({ width }) => String(width)))];
  return {
    title,
    data: { values },
    width: 420,
    height: 280,
    layer: [
      {
        mark: { type: 'line', point: true },
        encoding: {
          x: {
            field: 'acceptance',
            type: 'quantitative',
            title: 'chance that a draft is right',
            scale: { zero: false },
          },
          y: ratioAxis('ratio'),
          color: { field: 'width', type: 'nominal', title: 'rows', sort: order },
          strokeDash: { field: 'kind', type: 'nominal', title: null },
        },
      },
      plainRule,
    ],
  };
}

function ratioAxis(field: string) {
  return { field, type: 'quantitative', title: 'tokens per second, plain = 1' } as const;
}

interface Named {
  readonly model?: string;
  readonly config?: string;
  readonly adapter?: { readonly device?: string; readonly description?: string };
}

/**
 * The chart of a result file: of `forerun bench speculative --json`, or of `forerun bench --config … --random --speculation --json`.
 *
 * @throws {@link PlotError} for another file.
 */
export function chartOf(result: unknown): TopLevelSpec {
  const { rows, speculation, model, config, adapter } = (result ?? {}) as Named & {
    readonly rows?: readonly SpeculativeRow[];
    readonly speculation?: { readonly replay?: { readonly points: readonly ReplayPoint[] } };
  };
  const where = adapter?.device || adapter?.description || 'an unnamed adapter';
  const name = (model ?? config ?? 'a model').split(/[\\/]/).findLast((part) => part !== '') ?? 'a model';
  if (Array.isArray(rows) && rows.length > 0) return speculativeChart(rows, `Speculation of ${name} on ${where}`);
  const points = speculation?.replay?.points;
  if (points && points.length > 0) return replayChart(points, `Replayed drafts of ${name} on ${where}`);
  throw new PlotError(
    'Expected the JSON of `forerun bench speculative`, or of `forerun bench --config … --random --speculation`; found neither rows nor points of a replay.',
  );
}
