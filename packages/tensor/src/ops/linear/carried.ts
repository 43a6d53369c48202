import type { LinearSlots } from './linear-slots.ts';

/** Lane groups that keep a large GPU busy; below, lanes carry less so that there are more groups. */
const busyGroups = 1024;

/** Rows of the weight and of `x` that a lane may carry, the most first. */
const pairs = [
  [4, 8],
  [4, 4],
  [2, 4],
  [2, 2],
  [1, 2],
  [1, 1],
] as const;

/**
 * Rows of the weight and of `x` that a lane carries where there are several rows: the most that leave enough groups of lanes.
 *
 * @param weightRows - Rows of the weight that groups of lanes share out.
 */
export function carried({ rows }: Pick<LinearSlots, 'rows'>, weightRows: number): readonly [R: number, C: number] {
  const groups = ([R, C]: readonly [number, number]) => (weightRows / R) * Math.ceil(rows / C);
  return pairs.filter(([, C]) => C <= Math.max(4, rows)).find((pair) => groups(pair) >= busyGroups) ?? [1, 1];
}
