import type { Round, TokenTree } from '@forerun/contracts';
import { sample, type Tensor } from '@forerun/tensor';
import { bestFirstTree } from '../trees/best-first.ts';
import { bestCandidates } from '../trees/candidates.ts';
import { candidateTree } from '../trees/candidate-tree.ts';
import { paddedTree } from '../trees/padded-tree.ts';
import type { ShapeOfWidth, TreeChoice } from '../trees/sub-tree.ts';
import { expectWholeNumber } from '../whole-number.ts';
import { chain } from './chain.ts';
import { type ChildChoice, Children } from './children.ts';
import { treePlan } from './tree-plan.ts';

/** What is made of a head that gives one distribution for each depth, whatever the path. */
export interface MarginalTreeOptions {
  /**
   * `best-first`: the nodes of greatest joint probability, the product of their path's. A shape, a list of paths or the name of one of
   * Medusa's own: that tree; in a narrower round the part of it that `subTree` leaves. `chain`: the most likely token of each depth.
   */
  readonly tree?: 'best-first' | 'chain' | TreeChoice;
  /** Candidates of each depth among which best-first chooses; 10 by default. */
  readonly topK?: number;
  /** How candidates are chosen; `coupled` by default. */
  readonly children?: ChildChoice;
}

/** What a round's tree is made of. */
export interface Marginals {
  /** Logits `[depth, V]` f32 of the tokens behind the anchor; at most as many depths as the head has. */
  readonly logits: (depth: number) => Tensor;
  /** `[1]` u32: 0 where only the anchor is in use. */
  readonly ready: Tensor;
}

/**
 * Makes the tree, or chain, of heads whose distributions do not depend on the path: Medusa's, and block drafters. Where the target verifies
 * chains only, it is a chain unless a tree is asked for.
 *
 * @param head.who - Names the drafter in errors.
 * @param head.depths - Depths that it has a distribution for.
 * @throws ArgumentError for a tree that cannot be made; by what it returns, MismatchedPartsError for a tree that was asked for and a target
 *   that verifies chains only.
 */
export function marginalTree(
  options: MarginalTreeOptions,
  { who, depths }: { readonly who: string; readonly depths: number },
): (round: Round, given: Marginals) => TokenTree {
  const { topK = 10, children = 'coupled' } = options;
  expectWholeNumber(who, { topK });
  const plan = treePlan(options, { who, grown: 'best-first', usual: 'best-first', maxDepth: depths });
  return (round, given) => {
    const form = plan(round);
    if (typeof form === 'function') return shaped(round, { ...given, children, shapes: form });
    const used = Math.min(depths, round.width - 1);
    const logits = given.logits(used);
    const steps = Array.from({ length: used }, (_, index) => index + 1);
    if (form === 'chain') {
      const positions = round.length.add(logits.graph.constant(Uint32Array.from(steps)));
      return chain(round, [sample(logits, { ...round.sampling, positions })], given.ready);
    }
    const ranked = new Children({ round, choice: children }).ranked(logits, steps);
    const { indexes, scores } = bestCandidates(ranked, Math.min(topK, round.width - 1, round.decoder.vocabSize));
    const tree = { anchor: round.anchor, candidates: indexes, logProbabilities: scores };
    return paddedTree(bestFirstTree(tree, round.width), round.width, given.ready);
  };
}

/** A tree of fixed form: the nodes of a depth share their candidates. */
function shaped(
  round: Round,
  { logits, ready, children: choice, shapes }: Marginals & { children: ChildChoice; shapes: ShapeOfWidth },
): TokenTree {
  const shape = shapes(round.width);
  const children = new Children({ round, choice });
  const depths = Array.from({ length: shape.depth }, (_, index) => index + 1);
  const candidates = children.of(logits(shape.depth), { depths, ranks: shape.ranks });
  const tree = candidateTree(shape, { anchor: round.anchor, candidates });
  const rows = Array.from({ length: round.width }, (_, row) =>
    row < shape.width && shape.depths[row]! < shape.depth ? shape.depths[row] : undefined,
  );
  return { ...paddedTree(tree, round.width, ready), ...children.distribution(rows) };
}
