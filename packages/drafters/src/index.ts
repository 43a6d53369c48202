export type { DraftModelOptions } from './draft-model/draft-model.ts';
export { draftModel } from './draft-model/draft-model.ts';
export type { NGramOptions } from './n-gram/n-gram.ts';
export { nGram } from './n-gram/n-gram.ts';
export type { ReplayDrafter, ReplayOptions, ReplayState } from './replay/replay.ts';
export { replay, unrecorded } from './replay/replay.ts';
