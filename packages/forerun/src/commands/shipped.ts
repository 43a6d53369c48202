import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stories, storiesDraft } from '@forerun/tiny';
import type { ModelSource } from '../load/source.ts';

const names: ReadonlyMap<string, ModelSource> = new Map([stories, storiesDraft].map((tiny) => [tiny.name, tiny]));

/** The shipped checkpoint of that name, or the source that the text names. */
export function sourceByName(name: string): ModelSource {
  return names.get(name) ?? name;
}

/** The draft model that was made for a source, where it ships. */
export function shippedDraftOf(name: string): ModelSource | undefined {
  const folder = resolve(fileURLToPath(stories.url));
  return name === 'stories' || resolve(name) === folder ? storiesDraft : undefined;
}
