/**
 * Chooses how many rows a round has: the width that gives most tokens per millisecond, from what each width costs on this device and
 * how often drafts have been accepted lately. Width 1, plain decoding, is always a candidate.
 */

/** What a policy knows of a device and a model. */
export interface WidthCosts {
  /** Milliseconds of a round at each width that is ready, drafting included. */
  readonly roundMs: ReadonlyMap<number, number>;
}

/** Weight of the newest round in the running estimates. */
const newestWeight = 0.08;
/** Chance of acceptance assumed at a depth that was never tried, given the depth before it. */
const priorAcceptance = 0.7;
/** Plain rounds after which speculation is tried again for one round. */
const probeInterval = 64;
/** Plain rounds before a trial that the drafter takes in, so that it has caught up when it is asked. */
const fedRounds = 6;

/** Running estimate of acceptance, and the choice of width from it. */
export class WidthPolicy {
  /** Estimated chance that at least d drafts of a round are accepted, at index d - 1. */
  readonly #survival: number[] = [];
  #plainRounds = 0;
  #near = true;

  /**
   * Whether rounds with drafts may come soon, so that the drafter has to take in plain ones. While plain decoding is fastest it need not,
   * but for the last few rounds before it is tried again.
   */
  get near(): boolean {
    return this.#near;
  }

  /** Tokens that a round of `width` rows is expected to give. */
  expectedTokens(width: number): number {
    let tokens = 1;
    let chance = 1;
    for (let depth = 1; depth < width; depth++) {
      const known = this.#survival[depth - 1];
      chance = known === undefined ? chance * priorAcceptance : Math.min(chance, known);
      tokens += chance;
    }
    return tokens;
  }

  /** The width for the next round. */
  choose(costs: WidthCosts): number {
    let best = 1;
    let bestRate = 0;
    for (const [width, ms] of costs.roundMs) {
      const rate = this.expectedTokens(width) / ms;
      if (rate > bestRate) [best, bestRate] = [width, rate];
    }
    this.#near = true;
    if (best > 1) {
      this.#plainRounds = 0;
      return best;
    }
    this.#plainRounds++;
    const widths = [...costs.roundMs.keys()].filter((width) => width > 1).sort((a, b) => a - b);
    if (widths.length === 0) return 1;
    if (this.#plainRounds < probeInterval) {
      this.#near = this.#plainRounds >= probeInterval - fedRounds;
      return 1;
    }
    this.#plainRounds = 0;
    return widths[0]!;
  }

  /** Takes in that a round of `width` rows had `accepted` drafts accepted. */
  observe(width: number, accepted: number): void {
    for (let depth = 1; depth < width; depth++) {
      const outcome = accepted >= depth ? 1 : 0;
      const known = this.#survival[depth - 1];
      const prior = known ?? (depth === 1 ? priorAcceptance : this.#survival[depth - 2]! * priorAcceptance);
      this.#survival[depth - 1] = prior + newestWeight * (outcome - prior);
    }
  }
}
