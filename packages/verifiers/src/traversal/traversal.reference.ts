import type { Chance } from '../chance/chance.ts';
import type { HostDistributions, HostTree, HostVerdict } from '../verdict/verdict.ts';
import { acceptanceRatio, residualOr } from '../verdict/verdict.ts';

interface Visited {
  readonly row: number;
  readonly weight: number;
  readonly p: Float64Array<ArrayBuffer>;
  readonly q: Float64Array<ArrayBuffer>;
  /** The child looked at last. */
  readonly child: number;
}

/**
 * Traversal verification of a tree in float64, from its leaves to its root. `a(root) = 1`, `a(c) = min(a(w) p_w(x)/q_w(x), 1)`. The
 * first leaf in post-order is accepted, its path with it, with probability a. If it is not, it is removed, and at its parent w:
 * `R = max(a(w) p_w - q_w, 0)`, `S = sum R`, `a(w) = S / (S + 1 - a(w))`, `p_w = R / S`, and `q_w` loses the token and is
 * normalised. The root is always accepted. On a chain this is block verification.
 *
 * Source: Weng et al. 2025, "Traversal verification for speculative tree decoding" (2505.12398).
 */
export function traversalReference(
  { tokens, parents }: HostTree,
  { p: targets, q: drafts }: HostDistributions & { readonly q: readonly ArrayLike<number>[] },
  chance: Pick<Chance, 'accept'>,
): HostVerdict {
  const visit = (row: number, weight: number): Visited => ({
    row,
    weight,
    p: Float64Array.from(targets[row]!),
    q: Float64Array.from(drafts[row]!),
    child: row,
  });
  const path = [visit(0, 1)];
  let tests = 0;
  for (;;) {
    const at = path.at(-1)!;
    let child = at.child + 1;
    while (child < tokens.length && parents[child] !== at.row) child++;
    if (child < tokens.length) {
      const token = tokens[child]!;
      const ratio = acceptanceRatio(at.p[token] ?? 0, at.q[token] ?? 0);
      path[path.length - 1] = { ...at, child };
      path.push(visit(child, at.weight > 0 ? Math.min(at.weight * ratio, 1) : 0));
      continue;
    }
    if (path.length === 1 || (tests++, chance.accept(at.weight))) {
      return { path: path.map(({ row }) => row), next: residualOr(at.p, targets[at.row]!), tests };
    }
    path.pop();
    path.push(withoutChild(path.pop()!, tokens[at.row]!));
  }
}

/** A node after a child that held `token` was removed. */
function withoutChild(node: Visited, token: number): Visited {
  const { weight, p, q } = node;
  const residual = p.map((value, one) => Math.max(weight * value - q[one]!, 0));
  const mass = residual.reduce((sum, value) => sum + value, 0);
  const left = q.map((value, one) => (one === token ? 0 : value));
  const leftMass = left.reduce((sum, value) => sum + value, 0);
  return {
    ...node,
    weight: mass > 0 ? mass / (mass + 1 - weight) : 0,
    p: residual.map((value) => (mass > 0 ? value / mass : 0)),
    q: left.map((value) => (leftMass > 0 ? value / leftMass : 0)),
  };
}
