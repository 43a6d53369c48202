import type { LinearSlots } from './linear-slots.ts';

/** Lane groups that keep a large GPU busy; below, lanes carry less so that there are more groups. */
const busyGroups = 1024;

/** Rows of `x` in each of the fewest chunks that have at most `most`: as equal as can be, so that one row more costs no chunk of many. */
export const balanced = (rows: number, most: number): number => Math.ceil(rows / Math.ceil(rows / most));

/** Most rows of `x` that a lane carries: a power of two, and past it sums crowd the registers. */
export const mostCarried = 8;

/**
 * Cost of a weight row's block for all rows of `x`, in what multiplying one row takes: decoding takes about two of it in each chunk, and
 * reading a row of `x` about one, which the weight rows of a lane share.
 */
const cost = (chunks: number, R: number, C: number): number => chunks * (2 + C * (1 + 1 / R));

/**
 * Rows of the weight and of `x` that a lane carries where there are several rows: the cheapest that leave enough groups of lanes.
 *
 * @param weightRows - Rows of the weight that groups of lanes share out.
 * @param atMost - Most rows of `x`, a power of two.
 */
export function carried(
  { rows }: Pick<LinearSlots, 'rows'>,
  weightRows: number,
  atMost = mostCarried,
): readonly [R: number, C: number] {
  let best: readonly [R: number, C: number] = [1, 1];
  let least = Infinity;
  for (const R of [4, 2, 1]) {
    for (let most = atMost; most >= 1; most /= 2) {
      const C = balanced(rows, most);
      const chunks = Math.ceil(rows / C);
      const found = cost(chunks, R, C);
      if ((weightRows / R) * chunks < busyGroups || found >= least) continue;
      [best, least] = [[R, C], found];
    }
  }
  return best;
}
