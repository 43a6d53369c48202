/** A plain definition of what is proposed, for tests: count every beginning of every continuation, and sort. */
export interface ExpectedNode {
  readonly path: readonly number[];
  readonly seen: number;
}

/** Continuations of all places, as paths with counts. */
export function countPaths(continuations: readonly (readonly number[])[]): ExpectedNode[] {
  const seen = new Map<string, ExpectedNode>();
  for (const tokens of continuations) {
    for (let depth = 1; depth <= tokens.length; depth++) {
      const path = tokens.slice(0, depth);
      seen.set(path.join(), { path, seen: (seen.get(path.join())?.seen ?? 0) + 1 });
    }
  }
  return [...seen.values()];
}

const lexicographic = (a: readonly number[], b: readonly number[]): number =>
  a.map((token, i) => token - (b[i] ?? -1)).find((difference) => difference !== 0) ?? a.length - b.length;

/** The most frequent nodes; of equal ones shallow ones first, then those of smaller tokens. */
export function expectedTree(continuations: readonly (readonly number[])[], budget: number): ExpectedNode[] {
  return countPaths(continuations)
    .sort((a, b) => b.seen - a.seen || a.path.length - b.path.length || lexicographic(a.path, b.path))
    .slice(0, budget);
}

/** The most frequent next token, again and again, while what is left of all places is at least a share. */
export function expectedChain(
  continuations: readonly (readonly number[])[],
  { most, share }: { readonly most: number; readonly share: number },
): number[] {
  const nodes = countPaths(continuations);
  const path: number[] = [];
  while (path.length < most) {
    const [next] = nodes
      .filter((node) => node.path.length === path.length + 1 && path.every((token, i) => node.path[i] === token))
      .sort((a, b) => b.seen - a.seen || a.path.at(-1)! - b.path.at(-1)!);
    if (!next || next.seen < share * continuations.length) break;
    path.push(next.path.at(-1)!);
  }
  return path;
}

/** Paths of the rows of a tree behind its anchor. */
export function pathsOf(tokens: ArrayLike<number>, parents: ArrayLike<number>, count: number): number[][] {
  const paths: number[][] = [[]];
  for (let row = 1; row < count; row++) paths.push([...paths[parents[row]!]!, tokens[row]!]);
  return paths.slice(1);
}
