import type { WeightPolicy } from '@forerun/checkpoints';
import { ArgumentError, requestDevice } from '@forerun/tensor';
import { readFile } from 'node:fs/promises';
import { reportEngine } from '../bench/engine-report.ts';
import { engineReportText } from '../bench/engine-report-text.ts';
import { presets } from '../bench/presets.ts';
import { randomEngine } from '../bench/random-engine.ts';
import { jsonLine, line } from '../terminal/write.ts';

/** Flags of `forerun bench --config … --random`. */
export interface ConfigBenchFlags {
  readonly config?: string;
  readonly random?: boolean;
  readonly weights?: WeightPolicy | undefined;
  readonly cache?: 'f32' | 'f16' | undefined;
  readonly arithmetic?: 'f32' | 'f16' | undefined;
  readonly context?: number;
  readonly widths?: readonly number[];
  readonly randomSeed?: number;
  readonly json?: boolean;
}

async function configuration(name: string): Promise<Readonly<Record<string, unknown>>> {
  const preset = presets[name.toLowerCase()];
  if (preset) return preset;
  let text: string;
  try {
    text = await readFile(name, 'utf8');
  } catch (cause) {
    const known = Object.keys(presets).join(', ');
    throw new ArgumentError(`--config: expected a config.json or one of ${known}; ${name} cannot be read.`, { cause });
  }
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    throw new ArgumentError(`--config: ${name} is not JSON: ${(cause as Error).message}`, { cause });
  }
}

/** Measures a configuration with weights made on the device; nothing is downloaded. */
export async function benchConfig(flags: ConfigBenchFlags): Promise<void> {
  if (!flags.random) {
    throw new ArgumentError(
      'bench --config measures shapes without weights; say --random too, or name a checkpoint with --model.',
    );
  }
  const json = await configuration(flags.config!);
  const device = await requestDevice();
  const hardware = device.adapter.kind === 'hardware';
  const contexts = flags.context ? [flags.context] : hardware ? [512, 4096, 32_768] : [64];
  const prefills = hardware ? [512, 4096] : [32];
  const longest = Math.max(...contexts, ...prefills.map((tokens) => tokens + 1));
  const weights = flags.weights === undefined || flags.weights === 'as-is' ? 'q4' : flags.weights;
  const { engine, store, config, readyMs } = await randomEngine(json, {
    device,
    weights,
    capacityTokens: longest,
    seed: flags.randomSeed ?? 1,
    cache: flags.cache,
    arithmetic: flags.arithmetic,
  });
  const widths = flags.widths ?? [1, 2, 4, 8, 16];
  const report = await reportEngine(engine, {
    store,
    config,
    widths,
    contexts,
    prefills,
    cache: flags.cache,
    onStage: (stage) => void process.stderr.write(`${stage} …\n`),
  });
  if (!report.output_checked) process.exitCode = 1;
  const head = {
    config: flags.config,
    weights,
    cache: flags.cache ?? 'f32',
    arithmetic: engine.arithmetic,
    ready_ms: readyMs,
    chunk_tokens: engine.chunkTokens,
  };
  if (flags.json) await jsonLine({ ...head, ...report });
  else
    await line(`${flags.config} in ${weights}, ready in ${(readyMs / 1000).toFixed(1)} s\n${engineReportText(report)}`);
}
