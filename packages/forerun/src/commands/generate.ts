import { text as readText } from 'node:stream/consumers';
import { Command } from 'commander';
import { UsageError } from '../terminal/usage-error.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { printable } from '../terminal/printable.ts';
import { colouredPiece } from '../terminal/colours.ts';
import { jsonLine, line, writeOut } from '../terminal/write.ts';
import {
  generateOptions,
  loadByFlags,
  type ModelFlags,
  type SamplingFlags,
  withModelOptions,
  withSamplingOptions,
} from './model-options.ts';
import { statisticsLine } from './statistics-text.ts';

interface GenerateFlags extends ModelFlags, SamplingFlags {
  readonly json?: boolean;
  readonly colour?: boolean;
  readonly stats?: boolean;
}

/** `forerun generate`: continues a text. */
export function generateCommand(): Command {
  const command = new Command('generate')
    .description('continue a text, given as an argument or on stdin')
    .argument('[prompt]', 'text to continue; "-" or nothing reads stdin');
  return withSamplingOptions(withModelOptions(command))
    .option('--json', 'print one JSON object at the end instead of streaming text')
    .option('--colour', 'colour accepted, rejected and own tokens')
    .option('--stats', 'print rounds, acceptance and speed to stderr at the end')
    .action(generate);
}

async function generate(prompt: string | undefined, flags: GenerateFlags): Promise<void> {
  using interrupt = new Interrupt();
  const { signal } = interrupt;
  const given = await promptText(prompt);
  using model = await loadByFlags(flags, signal);
  const generation = model.generate(given, generateOptions(flags, signal));
  try {
    if (!flags.json) {
      await writeOut(printable(given));
      for await (const piece of generation) {
        const shown = flags.colour ? colouredPiece(piece, { rejected: true }) : printable(piece.text);
        await writeOut(shown);
      }
    }
  } finally {
    if (!flags.json) await line();
  }
  const result = await generation.result;
  if (flags.json) await jsonLine({ prompt: given, ...result, adapter: model.adapter });
  if (flags.stats) process.stderr.write(`${statisticsLine(result.statistics, model.adapter)}\n`);
}

async function promptText(prompt: string | undefined): Promise<string> {
  if (prompt !== undefined && prompt !== '-') return prompt;
  if (process.stdin.isTTY) throw new UsageError('There is no prompt: give it as an argument, or on stdin.');
  return readText(process.stdin);
}
