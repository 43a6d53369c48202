/** Workgroup counts of a dispatch, each at most 65,535. */
export type Grid = readonly [x: number, y: number, z: number];

/**
 * A grid of at least `workgroups` workgroups in x and y; kernels rebuild the linear index with {@link linearWorkgroupWgsl} and
 * return past the end.
 */
export function grid(workgroups: number): Grid {
  if (workgroups <= 65_535) return [workgroups, 1, 1];
  const y = Math.ceil(workgroups / 65_535);
  return [Math.ceil(workgroups / y), y, 1];
}

/** WGSL expression of the linear workgroup index of a {@link grid}. */
export const linearWorkgroupWgsl = '(workgroup.x + workgroup.y * workgroups.x)';
