import type { Round } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { ArgumentError } from '@forerun/tensor';
import { type ShapeOfWidth, shapesOf, type TreeChoice } from '../trees/sub-tree.ts';
import { chainShape, consecutiveRanks } from '../trees/tree-shape.ts';
import type { ChildChoice } from './children.ts';

/** What a drafter was asked for. */
export interface TreeRequest<Grown extends string> {
  readonly tree?: Grown | 'chain' | TreeChoice | undefined;
  readonly children?: ChildChoice | undefined;
}

/** What a drafter can do. */
export interface TreeAbility<Grown extends string> {
  /** Names the drafter in errors. */
  readonly who: string;
  /** Its tree whose form depends on the draft. */
  readonly grown: Grown;
  /** What it makes where no tree is asked for and the target verifies trees. */
  readonly usual: Grown | 'chain';
  /** Deepest tree that it can fill. */
  readonly maxDepth: number;
}

/** What a drafter makes in a round: a chain, a tree that it grows, or one of fixed form. */
export type TreeForm = 'chain' | 'grown' | ShapeOfWidth;

/**
 * Decides what a drafter makes. Without a wish that is its usual tree where the target verifies trees, and a chain where it does not or
 * where children are drawn.
 *
 * @throws {@link ArgumentError} for a tree that cannot be made; by what it returns, {@link MismatchedPartsError} for a tree that was
 *   asked for and a target that verifies chains only
 */
export function treePlan<Grown extends string>(
  { tree, children = 'coupled' }: TreeRequest<Grown>,
  { who, grown, usual, maxDepth }: TreeAbility<Grown>,
): (round: Round) => TreeForm {
  const drawn = children === 'drawn';
  if (tree === grown && drawn) {
    throw new ArgumentError(
      `${who}: tree '${grown}' chooses nodes by their probability, and nodes so chosen are no draws. For children: 'drawn' give a tree of fixed form, or 'chain'.`,
    );
  }
  const chains = shapesOf((width) => chainShape(Math.min(width, maxDepth + 1)), { who, depth: maxDepth });
  const chain = children === 'coupled' ? 'chain' : chains;
  const shapes =
    tree === undefined || tree === grown || tree === 'chain'
      ? undefined
      : shapesOf(tree as TreeChoice, { who, depth: maxDepth });
  // The draws of a node are taken in order: what is skipped would have to be known to the verifier.
  const given = shapes && drawn ? (width: number) => consecutiveRanks(shapes(width)) : shapes;
  return ({ decoder }) => {
    if (tree === 'chain') return chain;
    if (tree === undefined) return decoder.branching && !drawn && usual === grown ? 'grown' : chain;
    if (!decoder.branching) {
      throw new MismatchedPartsError(
        `${who}: a tree was asked for, and this target verifies chains only. Use tree: 'chain', or leave it out.`,
      );
    }
    return given ?? 'grown';
  };
}
