/** Uniforms that were recorded with a run, as the noise of an engine. */
import type { Drafter, DrafterState, Noise, Purpose } from '@forerun/contracts';
import type { Conversation } from '@forerun/decoding';
import { ArgumentError, gather, readState, State } from '@forerun/tensor';

/** Uniforms of a round, in the order in which it asks. */
export interface RoundUniforms {
  /** Of the verdict: those of the drafts that are tried, then that of the token behind them. */
  readonly verdict?: ArrayLike<number>;
  /** Of the children that are drawn. */
  readonly drafts?: ArrayLike<number>;
}

const verdictWords = 1024;
const draftWords = 4096;
const roundWords = verdictWords + draftWords;

const offsets: Readonly<Partial<Record<Purpose, number>>> = { accept: 0, residual: 0, draft: verdictWords };

/** A random decision as it was recorded: what it was, its uniform, and for a draw its token. */
export type Recorded = readonly [kind: string, uniform: number, token?: number];

/**
 * The uniforms of a run whose decisions were recorded one behind the other: a first root; then for each round the children that are drawn,
 * the tests, and the root of the next.
 *
 * @param counts - Of each round.
 */
export function tapeOfRun(
  list: readonly Recorded[],
  counts: Iterable<{ readonly drawn: number; readonly tested: number }>,
): { readonly first: RoundUniforms; readonly rounds: readonly RoundUniforms[] } {
  const uniforms = list.map(([, uniform]) => uniform);
  const rounds: RoundUniforms[] = [];
  let at = 1;
  for (const { drawn, tested } of counts) {
    const begin = at + drawn;
    rounds.push({ drafts: uniforms.slice(at, begin), verdict: uniforms.slice(begin, begin + tested + 1) });
    at = begin + tested + 1;
  }
  return { first: { verdict: uniforms.slice(0, 1) }, rounds };
}

/** A table of uniforms by the position of a round's anchor. It is allocated with the conversations of its drafters. */
export class Tape {
  readonly state: State;
  readonly #rows: number;
  readonly #states = new WeakMap<DrafterState, DrafterState>();

  /** @param capacityTokens - Positions that a round may begin at. */
  constructor(capacityTokens: number) {
    this.#rows = capacityTokens;
    this.state = new State({ name: 'recorded uniforms', shape: [capacityTokens * roundWords], dtype: 'f32' });
  }

  /** Noise that reads the table: question i of a round is its i-th number. */
  get noise(): Noise {
    return {
      gumbel() {
        throw new ArgumentError(
          'Recorded noise has uniforms only; choose a drafter and a verifier that draw by inversion.',
        );
      },
      uniform: (positions, index, purpose) => {
        const offset = offsets[purpose];
        if (offset === undefined) throw new ArgumentError(`There are no recorded uniforms of the purpose ${purpose}.`);
        return gather(readState(positions.graph, this.state), positions.mul(roundWords).add(index).add(offset));
      },
    };
  }

  /** Writes what a conversation's rounds will read, by the position of their anchor. */
  write(conversation: Conversation, rounds: Iterable<readonly [position: number, uniforms: RoundUniforms]>): void {
    const words = new Float32Array(this.#rows * roundWords);
    for (const [position, { verdict = [], drafts = [] }] of rounds) {
      words.set(Array.from(verdict), position * roundWords);
      words.set(Array.from(drafts), position * roundWords + verdictWords);
    }
    conversation.states.write(this.state, words);
  }

  /** The drafter with the table, and further states, among its own. */
  drafter(inner: Drafter, further: readonly State[] = []): Drafter {
    const own = (state: DrafterState) => this.#states.get(state)!;
    return {
      name: inner.name,
      needs: inner.needs,
      gives: inner.gives,
      state: (capacityTokens, options) => {
        const state = inner.state(capacityTokens, options);
        const wrapped: DrafterState = {
          states: [...state.states, this.state, ...further],
          truncate: (to) => state.truncate(to),
          reachable: (length, past) => state.reachable(length, past),
        };
        this.#states.set(wrapped, state);
        return wrapped;
      },
      prefill: (target, state, context) => inner.prefill(target, own(state), context),
      propose: (round, state) => inner.propose(round, own(state)),
      absorb: (round, outcome, state) => inner.absorb(round, outcome, own(state)),
    };
  }
}
