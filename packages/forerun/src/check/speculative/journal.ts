/** What a verifier saw in each round of a run, for a look afterwards. */
import { loopWords, type Verifier } from '@forerun/contracts';
import type { Conversation } from '@forerun/decoding';
import { readState, State, writeRows } from '@forerun/tensor';
import { targetProbabilities } from '@forerun/verifiers';

/** Most rows of a round. */
const roundRows = 64;

/** Distributions of a round, by row of its tree. */
export interface JournalRound {
  /** The target's, settings taken into account. */
  readonly p: readonly Float64Array[];
  /** What the children of the row were drawn from; zeros for rows without. */
  readonly q: readonly Float64Array[];
}

/** Keeps the distributions of target and draft of every round. */
export class Journal {
  readonly #p: State;
  readonly #q: State;
  readonly #vocabSize: number;

  /** @param rounds - Most rounds of a run. */
  constructor(rounds: number, vocabSize: number) {
    const state = (name: string) =>
      new State({ name: `journal of ${name}`, shape: [rounds * roundRows, vocabSize], dtype: 'f32' });
    this.#p = state('p');
    this.#q = state('q');
    this.#vocabSize = vocabSize;
  }

  /** States that the conversation has to hold. */
  get states(): readonly State[] {
    return [this.#p, this.#q];
  }

  /** The verifier, keeping what it sees. */
  keeping(inner: Verifier): Verifier {
    return {
      ...inner,
      verify: (tree, logits, round) => {
        const { graph } = logits;
        const rows = graph.constant(Uint32Array.from({ length: tree.width }, (_, row) => row));
        const slots = readState(graph, round.loop, [loopWords.rounds, loopWords.rounds + 1])
          .mul(roundRows)
          .add(rows);
        writeRows(this.#p, targetProbabilities(tree, logits, round), { slots });
        if (tree.distribution) writeRows(this.#q, tree.distribution, { slots });
        return inner.verify(tree, logits, round);
      },
    };
  }

  /** The distributions of the first rounds of a run. */
  async read(conversation: Conversation, widths: readonly number[]): Promise<readonly JournalRound[]> {
    const [p, q] = await Promise.all([this.#p, this.#q].map((state) => conversation.states.read(state)));
    const V = this.#vocabSize;
    const rowsOf = (all: ArrayLike<number>, round: number, width: number) =>
      Array.from({ length: width }, (_, row) =>
        Float64Array.from({ length: V }, (_unused, token) => all[(round * roundRows + row) * V + token]!),
      );
    return widths.map((width, round) => ({ p: rowsOf(p!, round, width), q: rowsOf(q!, round, width) }));
  }
}
