import type { Round } from '@forerun/contracts';
import { concat, gatherRows, samplingProbabilities, type Tensor, topK } from '@forerun/tensor';
import { drawChildren } from '../trees/draw-children.ts';
import { coupledLogits } from './coupled-logits.ts';

/**
 * How the children of a node are chosen. `coupled`: the best by `z / T + gumbel` with the target's own noise, for verifiers that match
 * the target's token (`sampleAndMatch`, `greedy`). `most-likely`: the best whatever the temperature, as Medusa and EAGLE-2 do, for
 * `typicalAcceptance` and `rejectionSampling({ drafts: 'certain' })`. `drawn`: from the draft's distribution at the target's settings, none
 * twice, as EAGLE-1 does; the tree then carries that distribution, for `rejectionSampling`. At temperature 0 all choose the best.
 */
export type ChildChoice = 'coupled' | 'most-likely' | 'drawn';

/** Uniforms that each node drafted on has for its children. */
const uniformsOfNode = 64;

/** What children are chosen from. */
export interface ChildrenOptions {
  readonly round: Round;
  readonly choice: ChildChoice;
  /** How the draft's vocabulary lies in the target's; the same by default. */
  readonly vocabulary?: {
    readonly size: number;
    tokens(own: Tensor): Tensor;
    spread(logits: Tensor): Tensor;
  };
}

/** Chooses children of the nodes of one round's tree. */
export class Children {
  readonly #round: Round;
  readonly #choice: ChildChoice;
  readonly #vocabulary: ChildrenOptions['vocabulary'];
  readonly #distributions: Tensor[] = [];

  constructor({ round, choice, vocabulary }: ChildrenOptions) {
    this.#round = round;
    this.#choice = choice;
    this.#vocabulary = vocabulary?.size === round.decoder.vocabSize ? undefined : vocabulary;
  }

  /** Logits `[M, Vd]` by whose order children are chosen, where all rows guess tokens of one depth, or each of its own. */
  ranked(logits: Tensor, depths: number | readonly number[]): Tensor {
    if (this.#choice !== 'coupled') return logits;
    const { graph } = logits;
    const own = this.#vocabulary;
    const tokens = own && own.tokens(graph.constant(Uint32Array.from({ length: own.size }, (_, token) => token)));
    return coupledLogits(logits, { round: this.#round, depths, ...(tokens ? { tokens } : {}) });
  }

  /** The target's tokens of entries of the draft's vocabulary. */
  tokens(own: Tensor): Tensor {
    return this.#vocabulary ? this.#vocabulary.tokens(own) : own;
  }

  /** The first `ranks` children of each row: target tokens `[M, ranks]` u32 of logits `[M, Vd]`. */
  of(
    logits: Tensor,
    { depths, ranks }: { readonly depths: number | readonly number[]; readonly ranks: number },
  ): Tensor {
    if (this.#choice !== 'drawn') return this.tokens(topK(this.ranked(logits, depths), ranks).indices);
    const { sampling, noise, length } = this.#round;
    const { graph } = logits;
    const before = this.#distributions.reduce((sum, { shape }) => sum + shape[0]!, 0);
    const p = samplingProbabilities(this.#vocabulary ? this.#vocabulary.spread(logits) : logits, sampling);
    this.#distributions.push(p);
    const rows = logits.shape[0]!;
    // Draws are keyed by the anchor's position, as a verifier's are: what a round learned must not bias the next.
    const index = Uint32Array.from(
      { length: rows * ranks },
      (_, i) => (before + Math.floor(i / ranks)) * uniformsOfNode + (i % ranks),
    );
    const positions = length.add(graph.constant(new Uint32Array(index.length)));
    const uniforms = noise.uniform(positions, graph.constant(index), 'draft');
    return drawChildren(p, uniforms.reshape([rows, ranks]));
  }

  /** The distribution `[M, V]` that the last children were drawn from; undefined where they were not drawn. */
  get drawnFrom(): Tensor | undefined {
    return this.#distributions.at(-1);
  }

  /**
   * The distribution `[rows.length, V]` that children were drawn from, where they were drawn: `rows` says for each row of a tree the how
   * manieth row of logits it is; undefined for rows without children.
   */
  distribution(rows: readonly (number | undefined)[]): { readonly distribution?: Tensor } {
    const [first] = this.#distributions;
    if (!first) return {};
    const index = Uint32Array.from(rows, (row) => row ?? 0xffff_ffff);
    return { distribution: gatherRows(concat(this.#distributions, 0), first.graph.constant(index)) };
  }
}
