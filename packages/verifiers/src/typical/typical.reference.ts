import type { HostTree } from '../verdict/verdict.ts';

/** How likely a token must be: more likely than `min(epsilon, delta e^-H)`. */
export interface TypicalThreshold {
  /** Upper bound of the threshold; 0.09 by default. */
  readonly epsilon?: number;
  /** Factor of `e^-H`, by which uncertain distributions let less likely tokens pass; 0.3 by default. */
  readonly delta?: number;
}

/** What a threshold is where nothing is said. */
export const typicalDefaults = { epsilon: 0.09, delta: 0.3 };

/** What the reference finds for a row. */
export interface TypicalRow {
  /** `H = -sum p ln(p + 1e-5)`, in nats. */
  readonly entropy: number;
  /** `min(epsilon, delta e^-H)`. */
  readonly threshold: number;
}

/** Added to probabilities inside the logarithm of the entropy. */
export const entropyFloor = 1e-5;

/** Entropy and threshold of a distribution in float64. */
export function typicalRow(p: ArrayLike<number>, threshold: TypicalThreshold = {}): TypicalRow {
  const { epsilon = typicalDefaults.epsilon, delta = typicalDefaults.delta } = threshold;
  let entropy = 0;
  for (let token = 0; token < p.length; token++) entropy -= p[token]! * Math.log(p[token]! + entropyFloor);
  return { entropy, threshold: Math.min(epsilon, delta * Math.exp(-entropy)) };
}

/**
 * The longest path of a tree on which every token is more likely than its parent's threshold; of equally long ones the one with the
 * greatest product of probabilities, then the one that ends in the lowest row.
 */
export function typicalPath(
  { tokens, parents }: HostTree,
  p: readonly ArrayLike<number>[],
  thresholds: ArrayLike<number>,
): number[] {
  const scores = [0];
  const depths = [0];
  let best = 0;
  for (let row = 1; row < tokens.length; row++) {
    const parent = parents[row]!;
    const probability = p[parent]![tokens[row]!] ?? 0;
    depths.push(depths[parent]! >= 0 && probability > thresholds[parent]! ? depths[parent]! + 1 : -1);
    scores.push(scores[parent]! + Math.log(Math.max(probability, 1e-38)));
    const longer = depths[row]! - depths[best]!;
    if (longer > 0 || (longer === 0 && scores[row]! > scores[best]!)) best = row;
  }
  const path = [best];
  while (path[0]! > 0) path.unshift(parents[path[0]!]!);
  return path;
}
