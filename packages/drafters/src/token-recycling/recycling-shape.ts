import { ArgumentError } from '@forerun/tensor';
import { staticTree, type TreeShape } from '../trees/tree-shape.ts';

/** Rough shares of the tokens at which the candidate of each rank is the right one; only their ratios shape the tree. */
export const typicalAcceptance: readonly number[] = [0.42, 0.13, 0.07, 0.05, 0.035, 0.025, 0.02, 0.015];

/**
 * The static tree of `width` rows whose nodes are the most likely to be accepted, if the candidate of each rank is right with the given
 * probability whatever came before: a node's chance is the product along its path. Ties go to the shorter path, then to lower ranks.
 *
 * @throws {@link ArgumentError} for probabilities that are not in (0, 1] and falling
 */
export function recyclingShape(width: number, acceptance: readonly number[] = typicalAcceptance): TreeShape {
  const falling = acceptance.every((p, rank) => p > 0 && p <= 1 && p <= (acceptance[rank - 1] ?? 1));
  if (acceptance.length === 0 || !falling) {
    throw new ArgumentError(
      `tokenRecycling: acceptance by rank must be probabilities above 0 that do not rise, got [${acceptance.join(', ')}].`,
    );
  }
  const chosen: number[][] = [];
  const open: { path: number[]; chance: number }[] = [{ path: [0], chance: acceptance[0]! }];
  while (chosen.length < width - 1) {
    let best = 0;
    for (let i = 1; i < open.length; i++) if (open[i]!.chance > open[best]!.chance) best = i;
    const [{ path, chance }] = open.splice(best, 1) as [{ path: number[]; chance: number }];
    chosen.push(path);
    const rank = path.at(-1)!;
    const next = acceptance[rank + 1];
    if (next !== undefined) {
      open.push({ path: [...path.slice(0, -1), rank + 1], chance: (chance / acceptance[rank]!) * next });
    }
    open.push({ path: [...path, 0], chance: chance * acceptance[0]! });
  }
  return staticTree(chosen);
}
