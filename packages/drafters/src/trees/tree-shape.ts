import { ArgumentError } from '@forerun/tensor';

/** Most rows of a tree, the anchor included. */
export const maxTreeWidth = 64;

/**
 * A tree whose form is fixed, as tables. Row 0 is the anchor, then the nodes by depth. A node is told by its path: at each depth, the
 * rank of the candidate that it takes, 0 for the most likely.
 */
export interface TreeShape {
  /** Rows, the anchor included. */
  readonly width: number;
  /** Largest depth of a row. */
  readonly depth: number;
  /** Path of each row but the anchor, in the order of the rows: shorter ones first, then by their numbers. */
  readonly paths: readonly (readonly number[])[];
  /** `[width]`: row of each row's parent; 0 for the anchor. */
  readonly parents: readonly number[];
  /** `[width]`: depth of each row. */
  readonly depths: readonly number[];
  /** Candidates that each depth needs: the largest rank + 1. */
  readonly ranks: number;
}

const byLengthThenRanks = (a: readonly number[], b: readonly number[]): number =>
  a.length - b.length || (a.map((rank, i) => rank - b[i]!).find((difference) => difference !== 0) ?? 0);

/**
 * The tree of a list of paths, as Medusa publishes them: `[0, 2]` is the third candidate of the second head, under the first
 * candidate of the first. The order of the list does not matter.
 *
 * @throws {@link ArgumentError} for a path that is empty, occurs twice, or whose parent is missing, for ranks that are no integers >= 0,
 *   and for more than 63 nodes
 */
export function staticTree(choices: readonly (readonly number[])[]): TreeShape {
  if (choices.length >= maxTreeWidth) {
    throw new ArgumentError(`staticTree: expected at most ${maxTreeWidth - 1} nodes, got ${choices.length}.`);
  }
  const paths = choices.map((path) => [...path]).sort(byLengthThenRanks);
  const rowOf = new Map<string, number>([['', 0]]);
  const parents = [0];
  const depths = [0];
  paths.forEach((path, index) => {
    const name = `[${path.join(', ')}]`;
    if (path.length === 0) throw new ArgumentError('staticTree: the anchor is no node; remove the empty path.');
    if (path.some((rank) => !Number.isInteger(rank) || rank < 0)) {
      throw new ArgumentError(`staticTree: ranks are integers from 0 up, got ${name}.`);
    }
    if (rowOf.has(path.join())) throw new ArgumentError(`staticTree: the path ${name} occurs twice.`);
    const parent = rowOf.get(path.slice(0, -1).join());
    if (parent === undefined) throw new ArgumentError(`staticTree: the parent of ${name} is missing; add it.`);
    rowOf.set(path.join(), index + 1);
    parents.push(parent);
    depths.push(path.length);
  });
  return {
    width: paths.length + 1,
    depth: depths.at(-1)!,
    paths,
    parents,
    depths,
    ranks: Math.max(0, ...paths.map((path) => path.at(-1)! + 1)),
  };
}

/** A chain of `width - 1` nodes as a shape. */
export function chainShape(width: number): TreeShape {
  return staticTree(Array.from({ length: width - 1 }, (_, row) => Array.from({ length: row + 1 }, () => 0)));
}

/** The same tree with the ranks 0, 1, 2, … among the children of each node, in their order. */
export function consecutiveRanks({ paths }: TreeShape): TreeShape {
  const children = new Map<string, number>();
  const renamed = new Map<string, readonly number[]>([['', []]]);
  return staticTree(
    paths.map((path) => {
      const parent = renamed.get(path.slice(0, -1).join())!;
      const rank = children.get(parent.join()) ?? 0;
      children.set(parent.join(), rank + 1);
      const own = [...parent, rank];
      renamed.set(path.join(), own);
      return own;
    }),
  );
}

/** `[width, width]`, row-major: 1 where a row may attend to another, its ancestors and itself. */
export function treeMask({ width, parents }: Pick<TreeShape, 'width' | 'parents'>): Uint8Array {
  const mask = new Uint8Array(width * width);
  for (let row = 0; row < width; row++) {
    for (let at = row; ; at = parents[at]!) {
      mask[row * width + at] = 1;
      if (at === 0) break;
    }
  }
  return mask;
}

/** Rows from the anchor to each leaf, the last leaf first, as Medusa lists them. */
export function leafPaths({ width, parents }: Pick<TreeShape, 'width' | 'parents'>): number[][] {
  const inner = new Set(parents.slice(1));
  const leaves = Array.from({ length: width }, (_, row) => row).filter((row) => width === 1 || !inner.has(row));
  return leaves.reverse().map((leaf) => {
    const path = [leaf];
    while (path[0]! > 0) path.unshift(parents[path[0]!]!);
    return path;
  });
}

/** `[width]`: index of each row's token in the anchor followed by `candidates` tokens for each depth. */
export function candidateIndexes({ paths }: TreeShape, candidates: number): number[] {
  return [0, ...paths.map((path) => 1 + candidates * (path.length - 1) + path.at(-1)!)];
}
