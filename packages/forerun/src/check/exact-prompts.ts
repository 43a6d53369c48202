import { philox } from '@forerun/tensor';
import type { LoadedModel } from '../model/loaded-model.ts';

/** What one text of a comparison begins with, and how far it goes. */
export interface ExactPrompt {
  readonly prompt: readonly number[];
  readonly maxTokens: number;
}

const texts = [
  'Once upon a time, there was a little',
  'One day, a girl named Lily went to the park with her friend. They played with a ball. Then the ball rolled away, and',
  'The sun was shining. Tom and his dog',
  '"I can not find my hat," said the old man. "Can you help me?" The bird said,',
] as const;

/** Prompts are of several lengths, so that several prefill tails are met. */
const randomLengths = [12, 37, 5, 23] as const;

/**
 * Prompts whose continuations add up to `tokens`, none of them longer than `perPromptTokens` or past the conversation's capacity.
 * Texts where there is a tokenizer, else random token ids, always the same.
 */
export function exactPrompts(
  model: Pick<LoadedModel, 'tokenizer' | 'engine'>,
  options: { readonly tokens: number; readonly perPromptTokens: number },
): ExactPrompt[] {
  const { capacityTokens, decoder } = model.engine;
  const prompts: ExactPrompt[] = [];
  for (let left = options.tokens, index = 0; left > 0; index++) {
    const text = texts[index];
    const encoded = text !== undefined && model.tokenizer ? model.tokenizer.encode(text) : [];
    const wanted = encoded.length > 0 ? encoded : randomTokens(index, decoder.vocabSize);
    const prompt = wanted.slice(0, Math.max(1, Math.min(wanted.length, capacityTokens - 2)));
    const maxTokens = Math.min(left, options.perPromptTokens, capacityTokens - prompt.length - 1);
    prompts.push({ prompt, maxTokens: Math.max(1, maxTokens) });
    left -= Math.max(1, maxTokens);
  }
  return prompts;
}

function randomTokens(index: number, vocabSize: number): number[] {
  const length = randomLengths[index % randomLengths.length]!;
  return Array.from({ length }, (_, at) => philox([at, index, 0, 0], [11, 0])[0]! % vocabSize);
}
