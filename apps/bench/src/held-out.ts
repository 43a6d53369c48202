import { readFileSync } from 'node:fs';

/** Held-out stories: none of them was trained on. */
export function heldOutStories(): readonly string[] {
  return textsOf(new URL('../../../packages/goldens/fixtures/stories/heldout.jsonl', import.meta.url));
}

/** The texts of a file of JSON lines. */
export function textsOf(path: string | URL): readonly string[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => (JSON.parse(line) as { text: string }).text);
}

/**
 * Prompts of `tokens` tokens: what stands behind the beginnings of lines, the first of every text before the second of any.
 */
export function passages(
  texts: readonly string[],
  encode: (text: string) => readonly number[],
  tokens: number,
): readonly (readonly number[])[] {
  const found = texts.map((text) => {
    const begins = [0, ...[...text.matchAll(/\n(?=\S)/g)].map(({ index }) => index + 1)];
    return begins.map((begin) => encode(text.slice(begin, begin + 16 * tokens)).slice(0, tokens));
  });
  const most = Math.max(...found.map(({ length }) => length));
  return Array.from({ length: most }, (_, paragraph) => found.map((prompts) => prompts[paragraph] ?? []))
    .flat()
    .filter((prompt) => prompt.length === tokens);
}
