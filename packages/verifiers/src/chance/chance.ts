/** Answers of a random source to a float64 reference, in the order in which it asks. */
export interface Chance {
  /** Whether an event of this probability happens; never where it is 0. */
  accept(probability: number): boolean;
  /** An index drawn in proportion to the weights; -1 where they are all 0. */
  draw(weights: ArrayLike<number>): number;
}

/** The first index at which the running sum of the weights exceeds `uniform` times their total; -1 where they are all 0. */
export function inverseDraw(weights: ArrayLike<number>, uniform: number): number {
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i]!;
  let sum = 0;
  let last = -1;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i]! <= 0) continue;
    last = i;
    sum += weights[i]!;
    if (sum > uniform * total) return i;
  }
  return last;
}

/** Answers from uniforms in [0, 1): each question reads the next. */
export function listChance(uniforms: ArrayLike<number>): Chance & { readonly asked: number } {
  let next = 0;
  return {
    get asked() {
      return next;
    },
    accept(probability) {
      const uniform = uniforms[next++]!;
      return probability > 0 && uniform <= probability;
    },
    draw: (weights) => inverseDraw(weights, uniforms[next++]!),
  };
}

/**
 * Runs `play` once for every sequence of answers that has a positive probability.
 *
 * @param play - Asks its chance a number of questions and returns what came of it.
 * @param visit - Called with each result and the probability of its answers; these sum to 1.
 */
export function enumerateChances<Result>(
  play: (chance: Chance) => Result,
  visit: (result: Result, probability: number) => void,
): void {
  // The answers of the current run: which branch was taken, and what all branches weigh.
  const taken: { branch: number; readonly weights: readonly number[] }[] = [];
  let depth = 0;
  const choose = (weigh: () => readonly number[]): number => {
    if (depth === taken.length) {
      const weights = weigh();
      taken.push({ branch: weights.findIndex((weight) => weight > 0), weights });
    }
    return taken[depth++]!.branch;
  };
  const chance: Chance = {
    accept: (probability) => choose(() => [Math.max(1 - probability, 0), Math.min(probability, 1)]) === 1,
    draw: (weights) => {
      const total = Array.from(weights).reduce((sum, weight) => sum + weight, 0);
      return total > 0 ? choose(() => Array.from(weights, (weight) => weight / total)) : -1;
    },
  };
  for (;;) {
    depth = 0;
    const result = play(chance);
    visit(
      result,
      taken.reduce((product, { branch, weights }) => product * weights[branch]!, 1),
    );
    for (;;) {
      const last = taken.at(-1);
      if (!last) return;
      const following = last.weights.findIndex((weight, branch) => branch > last.branch && weight > 0);
      if (following >= 0) {
        last.branch = following;
        break;
      }
      taken.pop();
    }
  }
}
