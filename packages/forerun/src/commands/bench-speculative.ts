import { Command, InvalidArgumentError } from 'commander';
import { readFile } from 'node:fs/promises';
import { storyPrompts, promptsOfFile } from '../bench/speculative/prompts.ts';
import { verifierMethod, verifierNames } from '../bench/speculative/methods.ts';
import { reportSpeculative } from '../bench/speculative/speculative-report.ts';
import { speculativeReportText } from '../bench/speculative/speculative-report-text.ts';
import { exactPrompts } from '../check/exact-prompts.ts';
import { drafterNames, type DrafterName } from '../model/drafter-choice.ts';
import type { LoadedModel, Prompt } from '../model/loaded-model.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { jsonLine, line, noteJson } from '../terminal/write.ts';
import { countOf, loadByFlags, type ModelFlags, numberOf, widthOf, withModelOptions } from './model-options.ts';
import { adapterText } from './statistics-text.ts';

interface SpeculativeFlags extends ModelFlags {
  readonly prompts?: string;
  readonly promptCount?: number;
  readonly chat?: boolean;
  readonly drafters?: readonly DrafterName[];
  readonly verifiers?: readonly string[];
  readonly temperatures?: readonly number[];
  readonly tokens?: number;
  readonly runs?: number;
  readonly width?: number | 'auto';
  readonly json?: boolean;
}

const defaults = {
  hardware: {
    promptCount: 8,
    tokens: 128,
    runs: 7,
    temperatures: [0, 0.7, 1],
    verifiers: verifierNames,
    width: 'auto',
  },
  // Programs are slow to compile where no GPU computes.
  software: {
    promptCount: 1,
    tokens: 16,
    runs: 1,
    temperatures: [0, 1],
    verifiers: ['sample-and-match', 'rejection-sampling'],
    width: 4,
  },
} as const;

function someOf<Name extends string>(names: readonly Name[]): (text: string) => Name[] {
  return (text) =>
    text.split(',').map((part) => {
      const found = names.find((name) => name === part.trim());
      if (found === undefined) throw new InvalidArgumentError(`Expected some of ${names.join(', ')}.`);
      return found;
    });
}

/** `forerun bench speculative`: drafter x verifier x temperature. */
export function benchSpeculativeCommand(): Command {
  return withModelOptions(
    new Command('speculative').description(
      'compare drafters under verifiers at temperatures: tokens a pass, and tokens per second against plain runs',
    ),
  )
    .option('--prompts <file>', 'JSON lines with turns, prompt, question or text; openings of stories by default')
    .option('--prompt-count <count>', 'prompts that are taken of them', countOf)
    .option('--chat', 'give prompts as a turn of a user, through the chat template')
    .option('--drafters <list>', 'drafters to compare; by default all that the model can use', someOf(drafterNames))
    .option('--verifiers <list>', `verifiers to compare: ${verifierNames.join(', ')}`, someOf(verifierNames))
    .option('--temperatures <list>', 'such as 0,0.7,1', (text) => text.split(',').map(numberOf))
    .option('-n, --tokens <count>', 'tokens of each run', countOf)
    .option('--runs <count>', 'pairs of runs on each prompt', countOf)
    .option('--width <rows>', 'rows of a round, or "auto" for the width policy (default on a GPU)', widthOf)
    .option('--json', 'print JSON')
    .action(benchSpeculative);
}

async function promptsOf(model: LoadedModel, flags: SpeculativeFlags, count: number): Promise<readonly Prompt[]> {
  if (flags.prompts !== undefined) {
    return promptsOfFile(await readFile(flags.prompts, 'utf8'), flags.prompts, { count, chat: flags.chat ?? false });
  }
  if (model.tokenizer) return storyPrompts.slice(0, count);
  return exactPrompts(model, { tokens: count, perPromptTokens: 1 }).map(({ prompt }) => prompt);
}

async function benchSpeculative(flags: SpeculativeFlags): Promise<void> {
  using interrupt = new Interrupt();
  using model = await loadByFlags({ ...flags, drafters: flags.drafters ?? drafterNames }, interrupt.signal);
  const own = defaults[model.adapter.kind];
  const report = await reportSpeculative(model, {
    prompts: await promptsOf(model, flags, flags.promptCount ?? own.promptCount),
    drafters: flags.drafters ?? model.drafters.filter((name) => name !== 'none'),
    verifiers: (flags.verifiers ?? own.verifiers).map(verifierMethod),
    temperatures: flags.temperatures ?? own.temperatures,
    tokens: flags.tokens ?? own.tokens,
    pairs: flags.runs ?? own.runs,
    width: flags.width ?? own.width,
    signal: interrupt.signal,
    onStage: (stage) => void process.stderr.write(`${stage} …\n`),
    ...(flags.json && { onRow: noteJson }),
  });
  if (!report.output_checked) process.exitCode = 1;
  if (flags.json) await jsonLine(report);
  else await line(`${model.name} on ${adapterText(model.adapter)}\n${speculativeReportText(report)}`);
}
