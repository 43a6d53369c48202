import type { ChatMessage } from '@forerun/checkpoints';
import { ArgumentError } from '@forerun/tensor';
import type { Prompt } from '../../model/loaded-model.ts';

/** Openings for the shipped story model. */
export const storyPrompts: readonly string[] = [
  'Once upon a time, there was a little fox who lived under an old oak tree. Every morning',
  'Mina wanted to fly a kite, but there was no wind. She sat on the hill and',
  'The baker had made too much bread. "Who will eat all of this?" he asked. The mouse',
  'It was raining, and Tom could not go out to play. He looked through the window and saw',
  'In a village by the sea there was a girl named Asha. She had a small blue boat, and',
  '"Where is my red ball?" said the puppy. He looked under the bed. He looked behind the door. Then',
  'One night the moon did not come up. The animals of the forest were afraid, so the owl',
  'Grandmother had a box that nobody was allowed to open. One day, when she was at the market,',
];

/** How lines of a file become prompts. */
export interface PromptFileOptions {
  /** As a user's turn, through the checkpoint's chat template, instead of as text to go on from. */
  readonly chat?: boolean;
  /** Most prompts that are taken, spread evenly over the file. */
  readonly count: number;
}

const fields = ['prompt', 'question', 'text'] as const;

function textOf(line: string, place: string): string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new ArgumentError(`${place}: not JSON: ${(cause as Error).message}`, { cause });
  }
  const object = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const turns = object['turns'];
  const first: unknown = Array.isArray(turns) ? turns[0] : undefined;
  const found =
    typeof value === 'string' ? value : (first ?? fields.map((field) => object[field]).find((text) => text));
  if (typeof found === 'string' && found !== '') return found;
  throw new ArgumentError(
    `${place}: expected a JSON string, or an object with turns, ${fields.join(', ')}; as in the files of Spec-Bench, MT-Bench, HumanEval and GSM8K.`,
  );
}

/**
 * Prompts of a JSON-lines file: the first of `turns`, or `prompt`, `question` or `text` of each line.
 *
 * @throws {@link ArgumentError} for a line without a text, or a file without lines.
 */
export function promptsOfFile(content: string, file: string, options: PromptFileOptions): Prompt[] {
  const lines = content.split('\n').map((text, index) => ({ text, place: `${file}, line ${index + 1}` }));
  const texts = lines.filter(({ text }) => text.trim() !== '').map(({ text, place }) => textOf(text, place));
  if (texts.length === 0) throw new ArgumentError(`${file}: expected a line for each prompt, found none.`);
  const count = Math.min(options.count, texts.length);
  const taken = Array.from({ length: count }, (_, i) => texts[Math.floor((i * texts.length) / count)]!);
  return options.chat ? taken.map((content): ChatMessage[] => [{ role: 'user', content }]) : taken;
}
