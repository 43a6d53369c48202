import { ArgumentError, type Graph, type Tensor } from '@forerun/tensor';
import type { TokenTree } from '@forerun/contracts';
import { type MedusaTree, medusaChoices } from './medusa-choices.ts';
import { paddedColumn } from './padded-tree.ts';
import { maxTreeWidth, staticTree, type TreeShape } from './tree-shape.ts';

/**
 * A tree of fixed form: a shape, a list of paths as Medusa and EAGLE publish them, the name of one of Medusa's lists, or a function
 * that gives the shape for a number of rows, such as the best one of `sequoiaTree`.
 */
export type TreeChoice = TreeShape | readonly (readonly number[])[] | MedusaTree | ((width: number) => TreeShape);

/** Assumed chance of a path: each depth halves it, and rank r has 1 / (r + 1)² of the chance of rank 0. */
function weightOf(path: readonly number[]): number {
  return path.reduce((weight, rank) => weight / (2 * (rank + 1) ** 2), 1);
}

/**
 * The part of a tree that is left for fewer rows: the `width - 1` nodes that are most likely if every depth halves the chance and rank
 * r has 1 / (r + 1)² of the chance of rank 0; of equal ones the first. So a node never comes without its parent, and a rank not without
 * the ranks before it that the tree has.
 *
 * @param width - Rows, the anchor included.
 * @throws {@link ArgumentError} for a width that is not from 1 to 64
 */
export function subTree(shape: TreeShape, width: number): TreeShape {
  if (!Number.isInteger(width) || width < 1 || width > maxTreeWidth) {
    throw new ArgumentError(`subTree: expected a width from 1 to ${maxTreeWidth}, got ${width}.`);
  }
  if (width >= shape.width) return shape;
  const ranked = shape.paths.map((path, index) => ({ path, index, weight: weightOf(path) }));
  ranked.sort((a, b) => b.weight - a.weight || a.index - b.index);
  return staticTree(ranked.slice(0, width - 1).map(({ path }) => path));
}

/** Gives the shape of at most `width` rows. */
export type ShapeOfWidth = (width: number) => TreeShape;

/**
 * The shapes that a choice stands for.
 *
 * @param most.depth - Deepest tree that the drafter can fill.
 * @param most.who - Names the drafter in errors.
 * @throws {@link ArgumentError} for lists that are no trees, and trees that are too deep; for a function's when it is asked
 */
export function shapesOf(choice: TreeChoice, most: { readonly depth: number; readonly who: string }): ShapeOfWidth {
  const checked = (shape: TreeShape): TreeShape => {
    if (shape.width > 1 && shape.depth <= most.depth) return shape;
    throw new ArgumentError(
      `${most.who}: expected a tree of 1 to ${most.depth} levels under the anchor, got ${shape.width > 1 ? shape.depth : 0}.`,
    );
  };
  if (typeof choice === 'function') return (width) => subTree(checked(choice(width)), width);
  const paths = typeof choice === 'string' ? medusaChoices(choice) : 'paths' in choice ? choice.paths : choice;
  const shape = checked(staticTree(paths));
  return (width) => subTree(shape, width);
}

const padded = (graph: Graph, values: readonly number[], { width, fill }: { width: number; fill: number }): Tensor =>
  graph.constant(Uint32Array.from({ length: width }, (_, row) => values[row] ?? fill));

/**
 * A tree of fixed form as rows of a round that may be wider; rows behind it stay out of use.
 *
 * @param given.tokens `[W]` u32: token of each row, the anchor first; W is the shape's width
 * @param given.width rows of the round
 * @param given.ready `[1]` u32: 0 where only the anchor is in use
 */
export function shapedTree(
  shape: TreeShape,
  given: { readonly tokens: Tensor; readonly width: number; readonly ready: Tensor },
): TokenTree {
  const { tokens, width, ready } = given;
  const { graph } = tokens;
  const chain = shape.width === shape.depth + 1;
  return {
    width,
    depth: shape.depth,
    chain,
    tokens: paddedColumn(tokens, width),
    ...(chain
      ? {}
      : {
          parents: padded(graph, shape.parents, { width, fill: 0 }),
          depths: padded(graph, shape.depths, { width, fill: 1 }),
        }),
    count: ready.mul(shape.width - 1).add(1),
  };
}
