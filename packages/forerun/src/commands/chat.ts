import { createInterface } from 'node:readline';
import { AbortedError } from '@forerun/tensor';
import { Command } from 'commander';
import type { Chat, ChatOptions } from '../model/chat.ts';
import type { LoadedModel } from '../model/loaded-model.ts';
import { colours } from '../terminal/colours.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { printable } from '../terminal/printable.ts';
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

interface ChatFlags extends ModelFlags, SamplingFlags {
  readonly system?: string;
  readonly plain?: boolean;
  readonly json?: boolean;
  readonly stats?: boolean;
}

/** `forerun chat`: a conversation in turns. */
export function chatCommand(): Command {
  const command = new Command('chat').description('talk with a model; an empty line or the end of input ends it');
  return withSamplingOptions(withModelOptions(command))
    .option('--system <text>', 'what the model is told first')
    .option('--plain', 'no chat template: what you say and what it says are one text')
    .option('--json', 'print a JSON line a turn')
    .option('--stats', 'print rounds, acceptance and speed to stderr after each turn')
    .action(chat);
}

async function chat(flags: ChatFlags): Promise<void> {
  using interrupt = new Interrupt();
  using model = await loadByFlags(flags, interrupt.signal);
  using talk = model.chat(chatOptions(model, flags));
  const terminal = process.stdin.isTTY === true && !flags.json;
  const reader = createInterface({ input: process.stdin, terminal, output: process.stdout });
  let answering: AbortController | undefined;
  const onInterrupt = (): void => {
    if (answering) answering.abort(new Error('Interrupted.'));
    else reader.close();
  };
  reader.on('SIGINT', onInterrupt);
  interrupt.signal.addEventListener('abort', onInterrupt);
  reader.setPrompt(colours.bold('> '));
  try {
    if (terminal) reader.prompt();
    for await (const said of reader) {
      if (said.trim() === '') break;
      answering = new AbortController();
      await answer(talk, said, { flags, model, signal: answering.signal });
      answering = undefined;
      if (interrupt.signal.aborted) break;
      if (terminal) reader.prompt();
    }
  } finally {
    reader.close();
    if (terminal) await line();
  }
}

function chatOptions(model: LoadedModel, flags: ChatFlags): ChatOptions {
  const messages = flags.system === undefined ? [] : [{ role: 'system', content: flags.system }];
  const plain = flags.plain || !model.requireTokenizer().chatTemplate;
  if (plain && !flags.plain) {
    process.stderr.write('This checkpoint has no chat template: what you say and what it says are one text.\n');
  }
  const render: ChatOptions['render'] = (turns) => turns.map(({ content }) => String(content)).join('');
  return { messages, ...(flags.drafter ? { drafter: flags.drafter } : {}), ...(plain ? { render } : {}) };
}

async function answer(
  talk: Chat,
  said: string,
  { flags, model, signal }: { flags: ChatFlags; model: LoadedModel; signal: AbortSignal },
): Promise<void> {
  const generation = talk.send(said, generateOptions(flags, signal));
  try {
    if (!flags.json) for await (const piece of generation) await writeOut(printable(piece.text));
    const result = await generation.result;
    if (flags.json) await jsonLine({ prompt: said, ...result, adapter: model.adapter });
    if (flags.stats) process.stderr.write(`\n${statisticsLine(result, model.adapter)}`);
  } catch (cause) {
    if (!(cause instanceof AbortedError)) throw cause;
  }
  if (!flags.json) await line();
}
