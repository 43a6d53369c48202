import type { Chance } from '../chance/chance.ts';
import type { HostDistributions, HostTree, HostVerdict } from '../verdict/verdict.ts';
import { acceptanceRatio, residualOr } from '../verdict/verdict.ts';

/**
 * How the children of a node came about: drawn from the row's distribution independently of each other, drawn from it without
 * putting back what was drawn, or chosen without chance.
 */
export type DraftSource = 'with-replacement' | 'without-replacement' | 'certain';

/**
 * Multi-round rejection sampling of a tree in float64. At each node its children are tried in order: child x is accepted with
 * probability `min(1, p(x)/q(x))`; if it is not, `p` becomes `max(p - q, 0)`, normalised, and without replacement `q` loses x and is
 * normalised. A certain child is accepted with `p(x)`, and `p` loses it if it is not. Where none is left, the next token is drawn
 * from `p`.
 *
 * Source: Miao et al. 2024 (SpecInfer), Chen et al. 2024 (Sequoia), Li et al. 2024 (EAGLE).
 */
export function multiRoundReference(
  { tokens, parents }: HostTree,
  { p: targets, q: drafts }: HostDistributions,
  { chance, source }: { readonly chance: Pick<Chance, 'accept'>; readonly source: DraftSource },
): HostVerdict {
  const path = [0];
  let p = Float64Array.from(targets[0]!);
  let q = Float64Array.from(drafts?.[0] ?? []);
  let tests = 0;
  for (let row = 1; row < tokens.length; row++) {
    const current = path.at(-1)!;
    if (parents[row] !== current) continue;
    const token = tokens[row]!;
    tests++;
    const ratio = acceptanceRatio(p[token] ?? 0, source === 'certain' ? 1 : (q[token] ?? 0));
    if (chance.accept(Math.min(ratio, 1))) {
      path.push(row);
      p = Float64Array.from(targets[row]!);
      q = Float64Array.from(drafts?.[row] ?? []);
      continue;
    }
    const left = p.map((value, one) =>
      source === 'certain' ? (one === token ? 0 : value) : Math.max(value - q[one]!, 0),
    );
    p = normalised(residualOr(left, targets[current]!));
    if (source !== 'without-replacement') continue;
    q[token] = 0;
    q = normalised(q);
  }
  return { path, next: p, tests };
}

function normalised(values: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const total = values.reduce((sum, value) => sum + value, 0);
  return total > 0 ? values.map((value) => value / total) : values;
}
