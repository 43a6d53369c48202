/** Sampling in float64, written from its definition: process, filter, add Gumbel noise, take the largest. */
import { gumbelOf, noiseKind, noiseWord } from '../noise/noise.reference.ts';
import type { UnpackedSampling } from './settings.ts';

/** Token that stands for "no token can be chosen": the row held NaN, +infinity, or nothing but -infinity. */
export const noToken = 0xffff_ffff;

/** How often a token occurs in the context and in its generated part. */
export interface TokenCounts {
  readonly context: (token: number) => number;
  readonly generated: (token: number) => number;
}

/** Logits after the repetition, frequency and presence penalties. */
export function penalise(logits: ArrayLike<number>, settings: UnpackedSampling, counts: TokenCounts): number[] {
  return Array.from(logits, (logit, token) => {
    if (logit === -Infinity) return logit;
    let z = logit;
    if (counts.context(token) > 0) z = z > 0 ? z / settings.repetitionPenalty : z * settings.repetitionPenalty;
    const times = counts.generated(token);
    return z - settings.frequencyPenalty * times - (times > 0 ? settings.presencePenalty : 0);
  });
}

/** Probabilities at the temperature, after top-k, top-p and min-p in that order; ties with the last kept token are kept. */
export function filteredProbabilities(z: readonly number[], settings: UnpackedSampling): number[] {
  const top = Math.max(...z);
  const mass = z.map((value) => Math.exp((value - top) / settings.temperature));
  let kept = mass.map((value) => value > 0);
  const descending = (indexes: number[]) => indexes.sort((a, b) => mass[b]! - mass[a]!);
  const support = () => descending([...mass.keys()].filter((token) => kept[token]));
  if (settings.topK > 0) {
    const last = support()[settings.topK - 1];
    if (last !== undefined) kept = kept.map((keep, token) => keep && mass[token]! >= mass[last]!);
  }
  if (settings.topP > 0 && settings.topP < 1) {
    const order = support();
    const total = order.reduce((sum, token) => sum + mass[token]!, 0);
    let sum = 0;
    const last = order.find((token) => (sum += mass[token]!) >= settings.topP * total)!;
    kept = kept.map((keep, token) => keep && mass[token]! >= mass[last]!);
  }
  kept = kept.map((keep, token) => keep && mass[token]! >= settings.minP);
  const total = mass.reduce((sum, value, token) => sum + (kept[token] ? value : 0), 0);
  return mass.map((value, token) => (kept[token] ? value / total : 0));
}

/** The token of one row. `z` are penalised logits. */
export function sampleRow(
  z: readonly number[],
  settings: UnpackedSampling,
  draw: { readonly position: number; readonly stream: number; readonly greedy: boolean },
): number {
  if (z.some((value) => Number.isNaN(value) || value === Infinity) || z.every((value) => value === -Infinity))
    return noToken;
  let scores = z;
  if (!draw.greedy && settings.temperature > 0) {
    const key = { seed: settings.seedWords, stream: draw.stream, kind: noiseKind.gumbel };
    scores = filteredProbabilities(z, settings).map((probability, token) =>
      probability === 0 ? -Infinity : z[token]! / settings.temperature + gumbelOf(noiseWord(key, draw.position, token)),
    );
  }
  return scores.reduce((best, score, token) => (score > scores[best]! ? token : best), 0);
}
