import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tiny from '@forerun/tiny';
import type { ModelSource, ShippedCheckpoint } from '../load/source.ts';

const { stories, storiesDraft } = tiny as unknown as Record<'stories' | 'storiesDraft', ShippedCheckpoint>;

const names: ReadonlyMap<string, ModelSource> = new Map([
  ['stories', stories],
  ['stories-draft', storiesDraft],
]);

/** The shipped checkpoint of that name, or the source that the text names. */
export function sourceByName(name: string): ModelSource {
  return names.get(name) ?? name;
}

/** The draft model that was made for a source, where it ships. */
export function shippedDraftOf(name: string): ModelSource | undefined {
  const folder = stories && resolve(fileURLToPath(stories.url));
  return name === 'stories' || resolve(name) === folder ? storiesDraft : undefined;
}
