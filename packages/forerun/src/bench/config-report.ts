/** A model's shape, measured whole with weights made on the device: what decoding costs, then what speculation gives. */
import type { WeightPolicy } from '@forerun/checkpoints';
import type { Arithmetic, Device } from '@forerun/tensor';
import { ForerunError } from '@forerun/tensor';
import type { EngineReport } from './engine-report.ts';
import { reportEngine } from './engine-report.ts';
import { randomEngine } from './random-engine.ts';
import type { SpeculationReport, SpeculationReportOptions } from './speculation-report.ts';
import { reportSpeculation, speculationRoom } from './speculation-report.ts';

/** What is measured of a configuration. */
export interface ConfigReportOptions {
  readonly device: Device;
  readonly weights: WeightPolicy;
  /** Seed of the weights. */
  readonly seed: number;
  readonly cache?: 'f32' | 'f16' | undefined;
  readonly arithmetic?: Arithmetic | undefined;
  /** Rows of a pass; the bits of all of them are checked. */
  readonly widths: readonly number[];
  /** Tokens in the cache of a step. */
  readonly contexts: readonly number[];
  /** Tokens of a prefill. */
  readonly prefills: readonly number[];
  /** Without acceptances, a draft and heads, speculation is not measured. */
  readonly speculation: Omit<SpeculationReportOptions, 'json' | 'weights' | 'cache' | 'onStage' | 'onMeasured'>;
  readonly onStage?: (stage: string) => void;
  /** Called with each figure as soon as there is one, so that what ends early leaves what it has. */
  readonly onMeasured?: (figure: object) => void;
}

/** What a configuration costs and gives on a device. */
export interface ConfigReport extends EngineReport {
  readonly weights: WeightPolicy;
  readonly cache: 'f32' | 'f16';
  readonly arithmetic: Arithmetic;
  /** From the configuration to the first possible step, in ms. */
  readonly ready_ms: number;
  /** Sizes of prefill passes. */
  readonly chunk_tokens: readonly number[];
  readonly speculation?: SpeculationReport;
  /** Why speculation could not be measured; what was measured before is not lost with it. */
  readonly speculation_failure?: string;
}

/** Measures a configuration on an engine, then speculation on another, which holds no more than it needs. */
export async function reportConfig(
  json: Readonly<Record<string, unknown>>,
  options: ConfigReportOptions,
): Promise<ConfigReport> {
  const { device, weights, seed, cache, arithmetic, speculation } = options;
  const { onStage = () => undefined, onMeasured = () => undefined } = options;
  const made = { device, weights, seed, cache, arithmetic };
  const capacityTokens = Math.max(...options.contexts, ...options.prefills.map((tokens) => tokens + 1));
  const { engine, store, config, readyMs } = await randomEngine(json, { ...made, capacityTokens });
  const report = await reportEngine(engine, { ...options, store, json, config });
  const facts = {
    weights,
    cache: cache ?? 'f32',
    arithmetic: engine.arithmetic,
    ready_ms: readyMs,
    chunk_tokens: engine.chunkTokens,
  } as const;
  engine.destroy();
  if (speculation.acceptances.length === 0 && !speculation.draft && speculation.heads.length === 0) {
    return { ...facts, ...report };
  }
  onStage('an engine for speculation');
  try {
    const room = speculation.context + speculationRoom(speculation.tokens);
    const random = await randomEngine(json, { ...made, capacityTokens: room });
    try {
      const measured = await reportSpeculation(random, {
        ...speculation,
        json,
        weights,
        cache,
        onStage,
        onMeasured,
      });
      return { ...facts, ...report, speculation: measured };
    } finally {
      random.engine.destroy();
    }
  } catch (error) {
    if (!(error instanceof ForerunError)) throw error;
    return { ...facts, ...report, speculation_failure: `${error.code}: ${error.message}` };
  }
}
