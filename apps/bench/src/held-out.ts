import { readFileSync } from 'node:fs';

/** Held-out stories: none of them was trained on. */
export function heldOutStories(): readonly string[] {
  const path = new URL('../../../packages/goldens/fixtures/stories/heldout.jsonl', import.meta.url);
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => (JSON.parse(line) as { text: string }).text);
}
