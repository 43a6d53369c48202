import { ArgumentError } from '@forerun/tensor';

/** How the next token is chosen. */
export interface SamplingSettings {
  /** 0 takes the most likely token; above, probabilities are softmax(logits / temperature). */
  readonly temperature: number;
  /** Keep only the k most likely tokens; 0 keeps all. */
  readonly topK: number;
  /** Keep the smallest set of tokens whose probabilities reach this sum; 1 keeps all. */
  readonly topP: number;
  /** Keep tokens at least this likely relative to the most likely one; 0 keeps all. */
  readonly minP: number;
  /** Logits of tokens in the context are divided (positive) or multiplied (negative) by this; 1 is off. */
  readonly repetitionPenalty: number;
  /** Taken from the logit of every token that was generated; 0 is off. */
  readonly presencePenalty: number;
  /** Taken from the logit of a token for each time it was generated; 0 is off. */
  readonly frequencyPenalty: number;
  /** 64-bit seed of all draws. */
  readonly seed: bigint | number;
}

/** Greedy decoding without penalties. */
export const greedySettings: SamplingSettings = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  seed: 0,
};

const ranges: Readonly<Record<Exclude<keyof SamplingSettings, 'seed'>, readonly [number, number, string]>> = {
  temperature: [0, 1e4, 'a number from 0 to 10,000'],
  topK: [0, 2 ** 31, 'a whole number, 0 for off'],
  topP: [1e-6, 1, 'above 0, at most 1'],
  minP: [0, 1, 'from 0 to 1'],
  repetitionPenalty: [1e-3, 1e3, 'a positive number, 1 for off'],
  presencePenalty: [-100, 100, 'from -100 to 100'],
  frequencyPenalty: [-100, 100, 'from -100 to 100'],
};

/**
 * Fills in defaults and checks ranges.
 * @throws {@link ArgumentError} naming the setting, what it may be, and what came.
 */
export function samplingSettings(partial: Partial<SamplingSettings> = {}): SamplingSettings {
  const unknown = Object.keys(partial).find((name) => !Object.hasOwn(greedySettings, name));
  if (unknown !== undefined) {
    throw new ArgumentError(
      `Sampling setting ${unknown}: there is none; expected ${Object.keys(greedySettings).join(', ')}.`,
    );
  }
  const settings = { ...greedySettings, ...partial };
  for (const [name, [low, high, words]] of Object.entries(ranges)) {
    const value = settings[name as keyof typeof ranges];
    if (
      typeof value !== 'number' ||
      !(value >= low && value <= high) ||
      (name === 'topK' && !Number.isInteger(value))
    ) {
      throw new ArgumentError(`Sampling setting ${name}: expected ${words}, got ${value}.`);
    }
  }
  const { seed } = settings;
  const whole = typeof seed === 'bigint' || (Number.isSafeInteger(seed) && seed >= 0);
  if (!whole || BigInt(seed) < 0n || BigInt(seed) >= 2n ** 64n) {
    throw new ArgumentError(`Sampling setting seed: expected a whole number from 0 to 2^64 - 1, got ${seed}.`);
  }
  return settings;
}

/** Whether a setting needs the counts of tokens in the context. */
export function usesPenalties(settings: SamplingSettings): boolean {
  return settings.repetitionPenalty !== 1 || settings.presencePenalty !== 0 || settings.frequencyPenalty !== 0;
}
