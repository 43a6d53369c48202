import { Command, InvalidArgumentError, Option } from 'commander';
import { type HeadKind, headKinds } from '../bench/head-checkpoint.ts';
import type { DrafterChoice } from '../model/drafter-choice.ts';
import type { GenerationResult } from '../model/generation.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { table } from '../terminal/table.ts';
import { jsonLine, line } from '../terminal/write.ts';
import { presets } from '../bench/presets.ts';
import { benchSpeculativeCommand } from './bench-speculative.ts';
import { benchConfig, type ConfigBenchFlags } from './bench-config.ts';
import { countOf, loadByFlags, type ModelFlags, numberOf, withModelOptions } from './model-options.ts';
import { adapterText } from './statistics-text.ts';

interface BenchFlags
  extends ModelFlags, Omit<ConfigBenchFlags, 'weights' | 'cache' | 'arithmetic' | 'draft' | 'heads'> {
  readonly prompt: string;
  readonly width?: number;
  readonly json?: boolean;
}

/** One way to decode, over all runs. */
interface Series {
  readonly drafter: DrafterChoice;
  readonly results: GenerationResult[];
}

/** `forerun bench`: plain against speculative decoding. */
export function benchCommand(): Command {
  return withModelOptions(
    new Command('bench').description(
      'measure plain against speculative decoding, after checking that both give the same text',
    ),
  )
    .option('--prompt <text>', 'text to continue', 'Once upon a time, there was a little')
    .option('-n, --tokens <count>', 'tokens of each run (64)', countOf)
    .option('--runs <count>', 'runs of each (3)', countOf)
    .option('--width <rows>', 'rows of a round; the width policy chooses without', countOf)
    .option('--config <file>', `measure shapes alone: a config.json, or ${Object.keys(presets).join(', ')}`)
    .option('--random', 'with --config: make the weights on the device')
    .option('--context <tokens>', 'with --config: tokens in the cache', countOf)
    .option('--widths <list>', 'with --config: rows of a pass, such as 1,2,4,8', (text) => text.split(',').map(countOf))
    .option('--seed <number>', 'with --config: seed of the weights', countOf)
    .option('--speculation', 'with --config: replay a recorded text at given acceptances, against plain runs')
    .option('--acceptances <list>', 'with --speculation: chances that a draft is right, such as 0.5,0.8', (text) =>
      text.split(',').map(shareOf),
    )
    .option(
      '--nodes <list>',
      `with --config and --heads, kinds of random heads (${headKinds.join(', ')}): nodes of their trees`,
      (text) => text.split(',').map(countOf),
    )
    .option('--dawn-enable <list>', 'with --config: toggles of Dawn to switch on, such as skip_validation', listOf)
    .option('--dawn-disable <list>', 'with --config: toggles of Dawn to switch off', listOf)
    .addOption(
      new Option('--experimental <feature>', 'with --config: use a feature that is no part of WebGPU yet').choices([
        'subgroup-matrix',
      ]),
    )
    .option('--json', 'print JSON')
    .enablePositionalOptions()
    .addCommand(benchSpeculativeCommand().exitOverride().option('--verbose', 'print the stack of an error'))
    .action(bench);
}

async function bench(flags: BenchFlags): Promise<void> {
  const { heads, ...others } = flags;
  if (flags.config !== undefined) return benchConfig({ ...others, ...(heads && { heads: heads.flatMap(headsOf) }) });
  const { tokens = 64, runs = 3 } = flags;
  using interrupt = new Interrupt();
  const start = performance.now();
  using model = await loadByFlags(flags, interrupt.signal);
  const loadMs = performance.now() - start;
  const drafters: DrafterChoice[] = flags.drafter
    ? ['none', flags.drafter]
    : ['none', 'n-gram', ...(model.draftModel ? ['draft-model' as const] : [])];
  const series: Series[] = drafters.map((drafter) => ({ drafter, results: [] }));
  for (const { drafter } of series) {
    using conversation = model.open({ drafter });
    await conversation.ready();
  }
  // What is compared runs in turn, so that a machine that slows down slows all of them.
  for (let run = 0; run <= runs; run++) {
    for (const { drafter, results } of series) {
      const result = await model.generate(flags.prompt, {
        drafter,
        maxTokens: tokens,
        stopTokens: [],
        sampling: { temperature: 0, seed: 0 },
        signal: interrupt.signal,
        ...(flags.width === undefined ? {} : { width: flags.width }),
      }).result;
      // The first run pays for compilation.
      if (run > 0) results.push(result);
    }
  }
  const texts = new Set(series.flatMap(({ results }) => results.map(({ tokens }) => tokens.join())));
  const rates = series.map(({ results }) => median(results.map(({ statistics }) => statistics.tokensPerSecond)));
  const same = texts.size === 1;
  if (!same) process.exitCode = 1;
  const figures = series.map(({ drafter, results }, index) => ({
    drafter,
    tokensPerSecond: rates[index]!,
    ratio: rates[index]! / rates[0]!,
    prefillMs: median(results.map(({ statistics }) => statistics.prefillMs)),
    statistics: results.at(-1)!.statistics,
  }));
  if (flags.json) {
    await jsonLine({
      adapter: model.adapter,
      model: model.name,
      loadMs,
      tokens,
      runs,
      same,
      memory: model.memory,
      figures,
    });
    return;
  }
  await line(`${model.name} on ${adapterText(model.adapter)}, loaded in ${(loadMs / 1000).toFixed(1)} s`);
  await line(
    table([
      ['drafter', 'tokens/s', 'ratio', 'rounds', 'tokens/round'],
      ...figures.map(({ drafter, tokensPerSecond, ratio, statistics }) => [
        String(drafter),
        tokensPerSecond.toFixed(1),
        ratio.toFixed(2),
        String(statistics.rounds),
        statistics.acceptanceLength.toFixed(2),
      ]),
    ]),
  );
  if (!same) await line('The texts differ: these figures compare nothing.');
}

function listOf(text: string): string[] {
  return text.split(',').filter((name) => name !== '');
}

function shareOf(text: string): number {
  const value = numberOf(text);
  if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError('Expected numbers from 0 to 1.');
  return value;
}

function headsOf(text: string): HeadKind[] {
  return text.split(',').map((name) => {
    const kind = headKinds.find((known) => known === name);
    if (!kind) throw new InvalidArgumentError(`Expected some of ${headKinds.join(', ')}.`);
    return kind;
  });
}

/** The middle value; of an even number the lower one. */
function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)]!;
}
