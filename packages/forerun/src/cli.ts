/** The command line: one file a command under `commands/`. `bin/forerun.mjs` starts it with a Vulkan driver in the environment. */
import { ForerunError } from '@forerun/tensor';
import { Command, CommanderError } from 'commander';
import { benchCommand } from './commands/bench.ts';
import { chatCommand } from './commands/chat.ts';
import { checkCommand } from './commands/check.ts';
import { demoCommand } from './commands/demo.ts';
import { devicesCommand } from './commands/devices.ts';
import { generateCommand } from './commands/generate.ts';
import { interruptedExitCode } from './terminal/interrupt.ts';
import { printable } from './terminal/printable.ts';

/** 0 when all is well, 1 for a check that failed, 2 for wrong usage or an error, 130 after an interrupt. */
const errorExitCode = 2;

function program(): Command {
  const root = new Command('forerun')
    .description('runs transformers on WebGPU, and makes decoding faster by exact speculation')
    .option('--verbose', 'print the stack of an error')
    .exitOverride()
    .enablePositionalOptions()
    .showHelpAfterError('(forerun --help lists the commands)');
  const commands = [generateCommand(), chatCommand(), checkCommand(), benchCommand(), devicesCommand(), demoCommand()];
  for (const command of commands)
    root.addCommand(command.exitOverride().option('--verbose', 'print the stack of an error'));
  return root;
}

/** Prints an error as one message a user can act on; the exit code says what kind it was. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : errorExitCode;
  const verbose = process.argv.includes('--verbose');
  const { code, message, stack, name } = error as Partial<ForerunError & Error>;
  if (code === 'aborted') {
    process.stderr.write('\nInterrupted.\n');
    return interruptedExitCode;
  }
  const known = error instanceof ForerunError;
  const what = known ? `${code}: ${message}` : `${name ?? 'Error'}: ${message ?? String(error)}`;
  const hint = known || verbose ? '' : '\nThis was not expected; run it again with --verbose to see where it happened.';
  process.stderr.write(`forerun: ${printable(what)}${hint}\n${verbose && stack ? `${printable(stack)}\n` : ''}`);
  return errorExitCode;
}

// Whoever reads our output may stop reading, as `head` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : errorExitCode));

let exitCode: number;
try {
  await program().parseAsync();
  exitCode = Number(process.exitCode ?? 0);
} catch (error) {
  exitCode = report(error);
}
// Native threads of WebGPU would keep the process alive.
process.exit(exitCode);
