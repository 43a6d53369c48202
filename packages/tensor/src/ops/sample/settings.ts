/**
 * Sampling settings as 16 u32 words of a state, floats by their bits. Kernels bind them as uniform, so what is off costs a branch
 * that all invocations take together.
 */
import { ArgumentError, ShapeError } from '../../errors.ts';
import { sameShape, shapeText } from '../../graph/dtype.ts';
import type { State } from '../../graph/state.ts';

/** Where each setting lies. */
export const samplingWord = {
  temperature: 0,
  topK: 1,
  topP: 2,
  minP: 3,
  repetitionPenalty: 4,
  presencePenalty: 5,
  frequencyPenalty: 6,
  seedLow: 7,
  seedHigh: 8,
  penalised: 9,
} as const;

/** Number of words. */
export const samplingWords = 16;

/** How tokens are chosen. Everything but the temperature is off where it is left out. */
export interface SamplingSettings {
  /** Divides the logits; 0 (default) takes the most likely token. */
  readonly temperature?: number;
  /** Keeps the k most likely tokens, and all that equal the k-th; 0 is off. */
  readonly topK?: number;
  /** Keeps the most likely tokens until their probabilities reach this, and all that equal the last; 0 and 1 are off. */
  readonly topP?: number;
  /** Keeps tokens at least this many times as likely as the most likely one; 0 is off. */
  readonly minP?: number;
  /** Logits of tokens in the context are divided (positive) or multiplied (negative) by this; 1 is off (Keskar et al. 2019). */
  readonly repetitionPenalty?: number;
  /** Subtracted from the logits of tokens that were generated; 0 is off. */
  readonly presencePenalty?: number;
  /** Subtracted once for each time that a token was generated; 0 is off. */
  readonly frequencyPenalty?: number;
  /** 64-bit seed of all draws. */
  readonly seed?: number | bigint;
}

/**
 * The words of `settings`.
 * @throws {@link ArgumentError} for a number that no sampler could use
 */
export function packSampling(settings: SamplingSettings): Uint32Array<ArrayBuffer> {
  const { temperature = 0, topK = 0, topP = 1, minP = 0 } = settings;
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0, seed = 0 } = settings;
  const within = (name: string, value: number, [low, high]: readonly [number, number]) => {
    if (!(value >= low && value <= high)) {
      throw new ArgumentError(`${name} must be a number from ${low} to ${high}, got ${value}.`);
    }
  };
  within('temperature', temperature, [0, 1e4]);
  within('topK', topK, [0, 2 ** 31]);
  within('topP', topP, [0, 1]);
  within('minP', minP, [0, 1]);
  within('repetitionPenalty', repetitionPenalty, [0.01, 100]);
  within('presencePenalty', presencePenalty, [-100, 100]);
  within('frequencyPenalty', frequencyPenalty, [-100, 100]);
  if (!Number.isInteger(topK)) throw new ArgumentError(`topK must be an integer, got ${topK}.`);
  const whole = typeof seed === 'bigint' || Number.isSafeInteger(seed);
  if (!whole || seed < 0 || BigInt(seed) >= 2n ** 64n) {
    throw new ArgumentError(`seed must be an integer from 0 to 2^64 - 1 (a bigint above 2^53), got ${seed}.`);
  }
  const words = new Uint32Array(samplingWords);
  const floats = new Float32Array(words.buffer);
  floats[samplingWord.temperature] = temperature;
  words[samplingWord.topK] = topK;
  floats[samplingWord.topP] = topP;
  floats[samplingWord.minP] = minP;
  floats[samplingWord.repetitionPenalty] = repetitionPenalty;
  floats[samplingWord.presencePenalty] = presencePenalty;
  floats[samplingWord.frequencyPenalty] = frequencyPenalty;
  words[samplingWord.seedLow] = Number(BigInt(seed) & 0xffff_ffffn);
  words[samplingWord.seedHigh] = Number(BigInt(seed) >> 32n);
  words[samplingWord.penalised] = Number(repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0);
  return words;
}

/** Settings as kernels read them. */
export interface UnpackedSampling extends Required<SamplingSettings> {
  readonly seed: bigint;
  readonly seedWords: readonly [low: number, high: number];
  readonly penalised: boolean;
}

/** The settings that `words` say: for references. */
export function unpackSampling(words: ArrayLike<number>): UnpackedSampling {
  const bits = Uint32Array.from(words);
  const floats = new Float32Array(bits.buffer);
  return {
    temperature: floats[samplingWord.temperature]!,
    topK: bits[samplingWord.topK]!,
    topP: floats[samplingWord.topP]!,
    minP: floats[samplingWord.minP]!,
    repetitionPenalty: floats[samplingWord.repetitionPenalty]!,
    presencePenalty: floats[samplingWord.presencePenalty]!,
    frequencyPenalty: floats[samplingWord.frequencyPenalty]!,
    seed: BigInt(bits[samplingWord.seedLow]!) + (BigInt(bits[samplingWord.seedHigh]!) << 32n),
    seedWords: [bits[samplingWord.seedLow]!, bits[samplingWord.seedHigh]!],
    penalised: bits[samplingWord.penalised]! !== 0,
  };
}

/** Throws unless `settings` is a state of {@link samplingWords} u32 words. */
export function checkSettings(name: string, settings: State): void {
  if (settings.dtype !== 'u32' || !sameShape(settings.shape, [samplingWords])) {
    throw new ShapeError(
      `${name}: settings must be a u32 state of ${samplingWords} words, got ${settings.dtype} ${shapeText(settings.shape)}.`,
    );
  }
}
