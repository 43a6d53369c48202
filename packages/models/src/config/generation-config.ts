import type { ConfigJson } from '@forerun/checkpoints';
import { modelFields } from './fields.ts';

/** How a checkpoint wants to be sampled from; settings that it leaves open are neutral. */
export interface SamplingDefaults {
  /** 0 is greedy: what a checkpoint without `do_sample` asks for. */
  readonly temperature: number;
  /** 0 is off. */
  readonly topK: number;
  /** 1 is off. */
  readonly topP: number;
  /** 0 is off. */
  readonly minP: number;
  /** 1 is off. */
  readonly repetitionPenalty: number;
}

/** What generation_config.json says, or config.json where there is none. */
export interface GenerationConfig {
  /** Tokens that end a text. */
  readonly stopTokens: readonly number[];
  /** Strings that end a text. */
  readonly stopStrings: readonly string[];
  readonly sampling: SamplingDefaults;
  /** Most tokens to generate, where the checkpoint has a wish. */
  readonly maxNewTokens?: number;
  /** Settings of the file that would change the text and are not implemented, such as `num_beams`. */
  readonly unsupported: readonly string[];
}

/** Settings of transformers that are not implemented, with the values that change nothing. */
const neutralValues: Readonly<Record<string, readonly unknown[]>> = {
  num_beams: [1],
  num_beam_groups: [1],
  typical_p: [1],
  epsilon_cutoff: [0],
  eta_cutoff: [0],
  top_h: [],
  penalty_alpha: [0],
  guidance_scale: [1],
  encoder_repetition_penalty: [1],
  no_repeat_ngram_size: [0],
  encoder_no_repeat_ngram_size: [0],
  bad_words_ids: [],
  sequence_bias: [],
  suppress_tokens: [],
  begin_suppress_tokens: [],
  forced_bos_token_id: [],
  forced_eos_token_id: [],
  exponential_decay_length_penalty: [],
  min_length: [0],
  min_new_tokens: [0],
  dola_layers: [],
  watermarking_config: [],
};

/**
 * Reads generation_config.json. End tokens that it does not name come from config.json; ids outside of the vocabulary, with which some
 * files say "none", are dropped.
 *
 * @throws ModelConfigError when a setting is malformed.
 */
export function generationConfig(
  generation: ConfigJson | undefined,
  model: ConfigJson,
  vocabSize: number,
): GenerationConfig {
  const fields = modelFields(generation ?? {}, 'generation_config.json');
  const ends = fields.has('eos_token_id') ? fields : modelFields(model);
  const samples = fields.boolean('do_sample', false);
  return {
    stopTokens: [...new Set(ends.tokens('eos_token_id'))].filter((token) => token >= 0 && token < vocabSize),
    stopStrings: fields.strings('stop_strings'),
    sampling: {
      temperature: samples ? fields.number('temperature', { min: 0 }, 1) : 0,
      topK: fields.integer('top_k', { min: 0 }, 0),
      topP: fields.number('top_p', { min: 0, max: 1 }, 1),
      minP: fields.number('min_p', { min: 0, max: 1 }, 0),
      repetitionPenalty: fields.number('repetition_penalty', { min: 0.001 }, 1),
    },
    ...(fields.has('max_new_tokens') ? { maxNewTokens: fields.integer('max_new_tokens', { min: 1 }) } : {}),
    unsupported: Object.entries(neutralValues).flatMap(([name, neutral]) =>
      fields.has(name) && !neutral.includes(fields.json[name]) ? [name] : [],
    ),
  };
}
