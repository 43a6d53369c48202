import { type SamplingSettings, samplingSettings } from '@forerun/decoding';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { load, type LoadOptions } from '../load/load.ts';
import { shippedDraftOf, shippedHeadsOf, sourceByName } from './shipped.ts';
import { type DrafterChoice, drafterNames } from '../model/drafter-choice.ts';
import type { GenerateOptions, LoadedModel } from '../model/loaded-model.ts';
import { LoadProgressBar } from '../terminal/load-progress.ts';
import { adapterText } from './statistics-text.ts';

/** What a command that loads a model is told about it. */
export interface ModelFlags {
  readonly model?: string;
  readonly draft?: string;
  readonly heads?: readonly string[];
  readonly drafter?: DrafterChoice;
  /** Several drafters, where a command compares them. */
  readonly drafters?: readonly DrafterChoice[];
  readonly weights?: LoadOptions['weights'];
  readonly cache?: 'f32' | 'f16';
  readonly arithmetic?: 'f32' | 'f16' | 'i8';
  readonly capacity?: number;
  readonly memoryLimit?: number;
  readonly revision?: string;
  readonly token?: string;
}

/** What a command that samples is told. */
export interface SamplingFlags {
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  readonly seed?: bigint;
  readonly stop?: readonly string[];
  readonly width?: number | 'auto';
}

/** A number on the command line; ranges are the library's to check. */
export function numberOf(text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (Number.isNaN(value)) throw new InvalidArgumentError('Expected a number.');
  return value;
}

/** A whole number of at least 1 on the command line. */
export function countOf(text: string): number {
  const value = numberOf(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('Expected a whole number of at least 1.');
  return value;
}

function seedOf(text: string): bigint {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return BigInt(text);
}

/** Rows of a round on the command line. */
export function widthOf(text: string): number | 'auto' {
  return text === 'auto' ? 'auto' : countOf(text);
}

/** Adds the options that say which model is loaded, and how. */
export function withModelOptions(command: Command): Command {
  return command
    .option('-m, --model <source>', 'folder, URL or Hub repository (owner/name); the shipped story model by default')
    .option('--draft <source>', 'draft model of the same vocabulary')
    .option(
      '--heads <source>',
      'heads made for the model: Medusa, Hydra, EAGLE, MTP or block drafter (may be repeated)',
      (source: string, before: string[] = []) => [...before, source],
    )
    .addOption(new Option('--drafter <name>', 'who guesses').choices(drafterNames))
    .addOption(
      new Option('--weights <format>', 'format of the matrices on the device')
        .choices(['f32', 'f16', 'bf16', 'q8', 'q4', 'as-is'])
        .default('as-is'),
    )
    .addOption(new Option('--cache <dtype>', 'element type of cached keys and values').choices(['f32', 'f16']))
    .addOption(
      new Option(
        '--arithmetic <dtype>',
        'precision of products in decoding; f16 needs shader-f16, i8 packed integer products and weights in q8 or q4',
      ).choices(['f32', 'f16', 'i8']),
    )
    .option('--capacity <tokens>', 'most tokens of a conversation, prompt included', countOf)
    .option('--memory-limit <bytes>', 'refuse to load what needs more device memory', countOf)
    .option('--revision <name>', 'branch, tag or commit of a Hub repository')
    .addOption(new Option('--token <token>', 'access token for the Hub').env('HF_TOKEN'));
}

/** Adds the options that say how tokens are chosen. */
export function withSamplingOptions(command: Command): Command {
  return command
    .option('-n, --max-tokens <count>', 'most tokens to generate', countOf)
    .option('-t, --temperature <value>', '0 takes the most likely token', numberOf)
    .option('--top-k <count>', 'keep the k most likely tokens', numberOf)
    .option('--top-p <share>', 'keep the likeliest tokens up to this sum of probabilities', numberOf)
    .option('--min-p <share>', 'keep tokens at least this likely relative to the likeliest', numberOf)
    .option('--repetition-penalty <factor>', 'divide the logits of tokens in the context', numberOf)
    .option('--presence-penalty <value>', 'take from the logits of generated tokens', numberOf)
    .option('--frequency-penalty <value>', 'take from them for each time', numberOf)
    .option('-s, --seed <number>', 'seed of all draws; drawn by chance without', seedOf)
    .option('--stop <text>', 'end the text here (may be repeated)', (text: string, before: string[] = []) => [
      ...before,
      text,
    ])
    .option('--width <rows>', 'rows of a round, or "auto"', widthOf);
}

/** Loads the model that the flags name, the shipped pair without, with a progress bar; says so where no GPU computes. */
export async function loadByFlags(flags: ModelFlags, signal: AbortSignal): Promise<LoadedModel> {
  const model = await loadWithBar(flags, signal);
  if (model.adapter.kind === 'software') process.stderr.write(`Computing on ${adapterText(model.adapter)}.\n`);
  return model;
}

async function loadWithBar(flags: ModelFlags, signal: AbortSignal): Promise<LoadedModel> {
  using bar = new LoadProgressBar();
  const name = flags.model ?? 'stories';
  const draft = flags.draft === undefined ? shippedDraftOf(name) : sourceByName(flags.draft);
  return await load(sourceByName(name), {
    draft,
    heads:
      flags.heads?.map(sourceByName) ?? shippedHeadsOf(name, flags.drafters ?? (flags.drafter ? [flags.drafter] : [])),
    weights: flags.weights,
    cache: flags.cache,
    arithmetic: flags.arithmetic,
    capacityTokens: flags.capacity,
    memoryLimitBytes: flags.memoryLimit,
    revision: flags.revision,
    token: flags.token,
    onProgress: bar.update,
    signal,
  });
}

/** Flags that were given, as options of `generate`; the others are left to the checkpoint. */
export function generateOptions(flags: SamplingFlags & ModelFlags, signal: AbortSignal): GenerateOptions {
  const { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed } = flags;
  const settings = { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed };
  const given = Object.entries(settings).filter(([, value]) => value !== undefined);
  const sampling: Partial<SamplingSettings> = Object.fromEntries(given);
  // What cannot be is said before anything is loaded.
  samplingSettings(sampling);
  return {
    sampling,
    signal,
    ...(flags.maxTokens === undefined ? {} : { maxTokens: flags.maxTokens }),
    ...(flags.stop ? { stopStrings: flags.stop } : {}),
    ...(flags.width === undefined ? {} : { width: flags.width }),
    ...(flags.drafter ? { drafter: flags.drafter } : {}),
  };
}
