import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  stories,
  storiesBlock,
  storiesDraft,
  storiesEagle,
  storiesMedusa,
  storiesMtp,
  type TinyCheckpoint,
} from '@forerun/tiny';
import type { ModelSource } from '../load/source.ts';
import type { DrafterChoice } from '../model/drafter-choice.ts';

const heads: ReadonlyMap<DrafterChoice, TinyCheckpoint> = new Map([
  ['medusa', storiesMedusa],
  ['eagle', storiesEagle],
  ['mtp', storiesMtp],
  ['block', storiesBlock],
]);
const names: ReadonlyMap<string, ModelSource> = new Map(
  [stories, storiesDraft, ...heads.values()].map((tiny) => [tiny.name, tiny]),
);

/** The shipped checkpoint of that name, or the source that the text names. */
export function sourceByName(name: string): ModelSource {
  return names.get(name) ?? name;
}

/** The draft model that was made for a source, where it ships. */
export function shippedDraftOf(name: string): ModelSource | undefined {
  return isStories(name) ? storiesDraft : undefined;
}

/** The heads for drafters that were made for a source, where they ship. */
export function shippedHeadsOf(name: string, drafters: readonly DrafterChoice[]): readonly ModelSource[] {
  if (!isStories(name)) return [];
  return drafters.flatMap((drafter) => heads.get(drafter) ?? []);
}

function isStories(name: string): boolean {
  return name === 'stories' || resolve(name) === resolve(fileURLToPath(stories.url));
}
