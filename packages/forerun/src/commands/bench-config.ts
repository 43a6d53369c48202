import type { WeightPolicy } from '@forerun/checkpoints';
import type { Arithmetic, ExperimentalFeature } from '@forerun/tensor';
import { ArgumentError, requestDevice } from '@forerun/tensor';
import { readFile } from 'node:fs/promises';
import { reportConfig } from '../bench/config-report.ts';
import { engineReportText } from '../bench/engine-report-text.ts';
import type { HeadKind } from '../bench/head-checkpoint.ts';
import { presets } from '../bench/presets.ts';
import { speculationReportText } from '../bench/speculation-report-text.ts';
import { jsonLine, line, noteJson } from '../terminal/write.ts';

/** Flags of `forerun bench --config … --random`. */
export interface ConfigBenchFlags {
  readonly config?: string;
  readonly random?: boolean;
  readonly weights?: WeightPolicy | undefined;
  readonly cache?: 'f32' | 'f16' | undefined;
  readonly arithmetic?: Arithmetic | undefined;
  readonly context?: number;
  readonly widths?: readonly number[];
  readonly seed?: number;
  readonly json?: boolean;
  /** Measure replay at `acceptances`. */
  readonly speculation?: boolean;
  readonly acceptances?: readonly number[];
  /** Configuration of a draft model. */
  readonly draft?: string;
  readonly heads?: readonly HeadKind[];
  readonly nodes?: readonly number[];
  readonly tokens?: number;
  readonly runs?: number;
  /** Dawn's toggles over those that every device is asked for with. */
  readonly dawnEnable?: readonly string[];
  readonly dawnDisable?: readonly string[];
  readonly experimental?: ExperimentalFeature;
}

/** What is measured when nothing was said. */
const defaults = {
  widths: [1, 2, 4, 8, 16],
  acceptances: { hardware: [0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95], software: [0.3, 0.8] },
  nodes: { hardware: [1, 4, 8, 16, 32, 64], software: [1, 4] },
  contexts: { hardware: [512, 4096, 32_768], software: [64] },
  prefills: { hardware: [512, 4096], software: [32] },
  replayWidths: { hardware: [2, 4, 8, 16], software: [4] },
  tokens: { hardware: 128, software: 16 },
  runs: { hardware: 3, software: 1 },
} as const;

async function configuration(option: string, name: string): Promise<Readonly<Record<string, unknown>>> {
  const preset = presets[name.toLowerCase()];
  if (preset) return preset;
  let text: string;
  try {
    text = await readFile(name, 'utf8');
  } catch (cause) {
    const known = Object.keys(presets).join(', ');
    throw new ArgumentError(`${option}: expected a config.json or one of ${known}; ${name} cannot be read.`, { cause });
  }
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    throw new ArgumentError(`${option}: ${name} is not JSON: ${(cause as Error).message}`, { cause });
  }
}

/** Measures a configuration with weights made on the device; nothing is downloaded. */
export async function benchConfig(flags: ConfigBenchFlags): Promise<void> {
  if (!flags.random) {
    throw new ArgumentError(
      'bench --config measures shapes without weights; say --random too, or name a checkpoint with --model.',
    );
  }
  const json = await configuration('--config', flags.config!);
  const draft = flags.draft === undefined ? undefined : await configuration('--draft', flags.draft);
  const experimental = flags.experimental ? [flags.experimental] : [];
  const toggles = { enable: flags.dawnEnable ?? [], disable: flags.dawnDisable ?? [], experimental };
  const device = await requestDevice({ dawn: toggles, experimental });
  const { kind } = device.adapter;
  const report = await reportConfig(json, {
    device,
    weights: flags.weights === undefined || flags.weights === 'as-is' ? 'q4' : flags.weights,
    seed: flags.seed ?? 1,
    cache: flags.cache,
    arithmetic: flags.arithmetic,
    widths: flags.widths ?? defaults.widths,
    contexts: flags.context ? [flags.context] : defaults.contexts[kind],
    prefills: defaults.prefills[kind],
    speculation: {
      context: flags.context ?? defaults.contexts[kind][0],
      tokens: flags.tokens ?? defaults.tokens[kind],
      pairs: flags.runs ?? defaults.runs[kind],
      acceptances: flags.speculation ? (flags.acceptances ?? defaults.acceptances[kind]) : [],
      widths: flags.widths ?? defaults.replayWidths[kind],
      draft,
      heads: flags.heads ?? [],
      nodes: flags.nodes ?? defaults.nodes[kind],
    },
    onStage: (stage) => void process.stderr.write(`${stage} …\n`),
    ...(flags.json && { onMeasured: noteJson }),
  });
  const { output_checked, speculation, speculation_failure: failure } = report;
  if (!output_checked || speculation?.output_checked === false || failure) process.exitCode = 1;
  if (flags.json) return jsonLine({ config: flags.config, toggles, ...report });
  const ready = `${flags.config} in ${report.weights}, ready in ${(report.ready_ms / 1000).toFixed(1)} s`;
  await line(`${ready}\n${engineReportText(report)}`);
  if (failure) await line(`\nSpeculation could not be measured: ${failure}`);
  if (speculation) await line(`\n${speculationReportText(speculation)}`);
}
