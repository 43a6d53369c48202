/** The host's part of drafters that are a function of the user: it is asked between two rounds for what the next one verifies. */
import type { Drafter, DrafterState } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { State, StateBuffers } from '@forerun/tensor';
import { ArgumentError } from '@forerun/tensor';
import { untilAborted } from './aborted.ts';

/** A token that no vocabulary has. */
const noToken = 0xffff_ffff;

/** What a round needs of the host. */
export interface HostGuessRequest {
  /** Every token that is kept. */
  readonly tokens: readonly number[];
  readonly states: StateBuffers;
  /** Most tokens that the round can verify. */
  readonly most: number;
  readonly signal: AbortSignal | undefined;
}

/** Asks a drafter's function, and writes its answer where the round reads it. */
export class HostGuess {
  readonly #drafter: Drafter;
  readonly #guess: State;

  /** @throws {@link MismatchedPartsError} for a drafter with `host` whose state has no room for the answer. */
  private constructor(drafter: Drafter, { guess }: DrafterState) {
    if (!guess || guess.dtype !== 'u32') {
      throw new MismatchedPartsError(
        `Drafter ${drafter.name} has a function on the host: expected \`guess\`, a u32 state, in its state for the answer, got ${guess?.dtype ?? 'none'}.`,
      );
    }
    this.#drafter = drafter;
    this.#guess = guess;
  }

  /** For drafters that have such a function; undefined for all others. */
  static of(drafter: Drafter | undefined, state: DrafterState | undefined): HostGuess | undefined {
    return drafter?.host && state ? new HostGuess(drafter, state) : undefined;
  }

  /**
   * Asks for the drafts of the next round. Ids that are no tokens are drafts that are never accepted; what is more than the round can
   * verify is left out.
   *
   * @throws whatever the function throws; {@link ArgumentError} for an answer that is no list; {@link AbortedError}
   */
  async ask({ tokens, states, most, signal }: HostGuessRequest): Promise<void> {
    const answer: unknown = await untilAborted(this.#drafter.host!(Uint32Array.from(tokens)), signal);
    if (!Array.isArray(answer) && !ArrayBuffer.isView(answer)) {
      throw new ArgumentError(
        `The function of drafter ${this.#drafter.name} gave ${answer === null ? 'null' : typeof answer}; expected a list of token ids, empty for no guess.`,
      );
    }
    const room = Math.min(most, this.#guess.shape[0]! - 1);
    const drafts = Array.from(answer as ArrayLike<number>).slice(0, room);
    states.write(this.#guess, Uint32Array.of(drafts.length, ...drafts.map(tokenOf)));
  }
}

function tokenOf(id: number): number {
  return Number.isInteger(id) && id >= 0 && id < noToken ? id : noToken;
}
