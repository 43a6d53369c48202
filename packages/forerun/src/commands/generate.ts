import { text as readText } from 'node:stream/consumers';
import { Command } from 'commander';
import type { Generation } from '../model/generation.ts';
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
  const options = generateOptions(flags, interrupt.signal);
  const given = await promptText(prompt);
  using model = await loadByFlags(flags, interrupt.signal);
  const generation = model.generate(given, options);
  if (!flags.json) await stream(generation, given, flags.colour ?? false);
  const result = await generation.result;
  if (flags.json) await jsonLine({ prompt: given, ...result, adapter: model.adapter });
  if (flags.stats) process.stderr.write(`${statisticsLine(result, model.adapter)}\n`);
}

/** Prints the text as it comes; the prompt goes before it as soon as there is something to go on with. */
async function stream(generation: Generation, prompt: string, coloured: boolean): Promise<void> {
  let begun = false;
  try {
    for await (const piece of generation) {
      if (!begun) await writeOut(printable(prompt));
      begun = true;
      await writeOut(coloured ? colouredPiece(piece) : printable(piece.text));
    }
  } finally {
    if (begun) await line();
  }
}

async function promptText(prompt: string | undefined): Promise<string> {
  if (prompt !== undefined && prompt !== '-') return prompt;
  if (process.stdin.isTTY) throw new UsageError('There is no prompt: give it as an argument, or on stdin.');
  return readText(process.stdin);
}
