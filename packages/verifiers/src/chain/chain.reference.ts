import type { Chance } from '../chance/chance.ts';
import type { HostDistributions, HostTree, HostVerdict } from '../verdict/verdict.ts';
import { acceptanceRatio, residualOr } from '../verdict/verdict.ts';

/** How a chain is judged: draft by draft (Leviathan et al. 2023, Chen et al. 2023), or as a block (Sun et al. 2024). */
export type ChainRule = 'draft' | 'block';

/** `max(weight p - q, 0)`; without `q` the draft was certain. */
function residualOf(
  weight: number,
  { p, q }: HostDistributions,
  at: { row: number; draft: number },
): Float64Array<ArrayBuffer> {
  const drafted = q?.[at.row];
  return Float64Array.from(p[at.row]!, (probability, token) =>
    Math.max(weight * probability - (drafted ? drafted[token]! : Number(token === at.draft)), 0),
  );
}

/**
 * Rejection sampling on a chain in float64. Draft i is accepted with probability `min(1, p(x)/q(x))`, the first rejected one is drawn
 * anew from `max(p - q, 0)`. Without `q` drafts were certain: `q` is 1 at the draft.
 *
 * @param ensembleWeight - w: accepts with `1 - w + w p(x)/q(x)` instead; below 1 it is lossy
 */
export function rejectionReference(
  { tokens }: Pick<HostTree, 'tokens'>,
  distributions: HostDistributions,
  chance: Pick<Chance, 'accept'>,
  ensembleWeight = 1,
): HostVerdict {
  const { p, q } = distributions;
  const drafts = tokens.length - 1;
  for (let row = 0; row < drafts; row++) {
    const draft = tokens[row + 1]!;
    const ratio = acceptanceRatio(p[row]![draft] ?? 0, q ? (q[row]![draft] ?? 0) : 1);
    const threshold = ensembleWeight === 1 ? ratio : 1 - ensembleWeight + ensembleWeight * ratio;
    if (chance.accept(Math.min(threshold, 1))) continue;
    return {
      path: Array.from({ length: row + 1 }, (_, i) => i),
      next: residualOr(residualOf(1, distributions, { row, draft }), p[row]!),
      tests: row + 1,
    };
  }
  return {
    path: Array.from({ length: drafts + 1 }, (_, i) => i),
    next: Float64Array.from(p[drafts]!),
    tests: drafts,
  };
}

/**
 * Weights and acceptance probabilities of block verification: `w_0 = 1`, `w_i = min(w_(i-1) p(x_i)/q(x_i), 1)`,
 * `S_i = sum max(w_i p - q, 0)`, `h_i = S_i / (S_i + 1 - w_i)`, and `h = w` at the last.
 */
export function blockThresholds(
  { tokens }: Pick<HostTree, 'tokens'>,
  distributions: HostDistributions,
): { readonly weights: readonly number[]; readonly thresholds: readonly number[] } {
  const { p, q } = distributions;
  const weights = [1];
  const thresholds = [1];
  for (let row = 1; row < tokens.length; row++) {
    const draft = tokens[row]!;
    const ratio = acceptanceRatio(p[row - 1]![draft] ?? 0, q ? (q[row - 1]![draft] ?? 0) : 1);
    const before = weights[row - 1]!;
    const weight = before > 0 ? Math.min(before * ratio, 1) : 0;
    weights.push(weight);
    if (row === tokens.length - 1) {
      thresholds.push(weight);
      continue;
    }
    const residual = residualOf(weight, distributions, { row, draft: tokens[row + 1]! });
    const mass = residual.reduce((sum, value) => sum + value, 0);
    thresholds.push(mass > 0 ? mass / (mass + 1 - weight) : 0);
  }
  return { weights, thresholds };
}

/** Block verification of a chain in float64: the longest prefix whose own draw accepts it; then `max(w p - q, 0)`. */
export function blockReference(
  tree: Pick<HostTree, 'tokens'>,
  distributions: HostDistributions,
  chance: Pick<Chance, 'accept'>,
): HostVerdict {
  const { weights, thresholds } = blockThresholds(tree, distributions);
  const drafts = tree.tokens.length - 1;
  let accepted = 0;
  for (let row = 1; row <= drafts; row++) if (chance.accept(thresholds[row]!)) accepted = row;
  const p = distributions.p[accepted]!;
  const at = { row: accepted, draft: tree.tokens[accepted + 1]! };
  const next =
    accepted === drafts ? Float64Array.from(p) : residualOr(residualOf(weights[accepted]!, distributions, at), p);
  return { path: Array.from({ length: accepted + 1 }, (_, i) => i), next, tests: drafts };
}
