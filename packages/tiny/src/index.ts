/** A trained checkpoint in this package: a folder as `transformers` and `@forerun/checkpoints` read it. */
export interface TinyCheckpoint {
  readonly name: string;
  /** URL of the folder, with a slash at its end: a `file:` URL in Node, wherever a bundler serves the files in a page. */
  readonly url: URL;
  /** Files in the folder, config.json first. */
  readonly files: readonly string[];
  /** Number of weights; a tied embedding counts once. */
  readonly parameters: number;
}

/**
 * A story model: Qwen3 architecture, 8 layers of 256, vocabulary of 4,096 (its own byte-level BPE), context of 2,048,
 * weights in bfloat16. Its intermediate layers were trained through the output head too, so leaving early is possible.
 */
export const stories: TinyCheckpoint = {
  name: 'stories',
  url: new URL('../models/stories/', import.meta.url),
  files: ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'],
  parameters: 6_951_680,
};

/**
 * The draft model of {@link stories}: the same vocabulary, 2 layers of 128, distilled from it. It has no tokenizer of its
 * own: ids mean what they mean in `stories`.
 */
export const storiesDraft: TinyCheckpoint = {
  name: 'stories-draft',
  url: new URL('../models/stories-draft/', import.meta.url),
  files: ['config.json', 'generation_config.json', 'model.safetensors'],
  parameters: 746_240,
};

/** Four Medusa heads for {@link stories} (`medusa_lm_head.safetensors`, second version: they end in its output head). */
export const storiesMedusa: TinyCheckpoint = {
  name: 'stories-medusa',
  url: new URL('../models/stories-medusa/', import.meta.url),
  files: ['config.json', 'medusa_lm_head.safetensors'],
  parameters: 263_168,
};

/** A multi-token prediction module for {@link stories}, in the layout of GLM-4.5: one layer that goes on from its own output. */
export const storiesMtp: TinyCheckpoint = {
  name: 'stories-mtp',
  url: new URL('../models/stories-mtp/', import.meta.url),
  files: ['config.json', 'model.safetensors'],
  parameters: 525_632,
};

/** An EAGLE-3 head for {@link stories}, in the layout of SafeAILab and SpecForge; it ends in the output head of `stories`. */
export const storiesEagle: TinyCheckpoint = {
  name: 'stories-eagle',
  url: new URL('../models/stories-eagle/', import.meta.url),
  files: ['config.json', 'model.safetensors'],
  parameters: 558_080,
};

/** A DFlash block drafter for {@link stories}, in the layout of z-lab: five tokens from one pass. */
export const storiesBlock: TinyCheckpoint = {
  name: 'stories-block',
  url: new URL('../models/stories-block/', import.meta.url),
  files: ['config.json', 'model.safetensors'],
  parameters: 722_560,
};
