import { defineKernel, read, readWrite } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';

/** Rows that a lane has in flight: loads that do not wait for each other. */
const batch = 4;
const steps = Array.from({ length: batch }, (_, step) => step);

/** Loads row m + k whether or not it moves: a clamped load costs less than a branch. */
const load = (k: number) => /* wgsl */ `
    let m${k} = min(m + ${k}u, u.rows - 1u);
    let source${k} = sources[m${k}];
    let target${k} = targets[m${k}];
    let moves${k} = m + ${k}u < count && source${k} != target${k} && max(source${k}, target${k}) < u.capacity;
    let value${k} = state[min(source${k}, u.capacity - 1u) * u.width + column];`;

const make = (type: 'u32' | 'vec4<u32>') =>
  defineKernel({
    name: `copy-rows-${type === 'u32' ? 'words' : 'vectors'}`,
    bindings: { sources: read('u32'), targets: read('u32'), used: read('u32'), state: readWrite(type) },
    uniforms: { rows: 'u32', width: 'u32', capacity: 'u32' },
    wgsl: () => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let column = ${linearWorkgroupWgsl} * 64u + lane;
  if (column >= u.width) { return; }
  let count = min(used[0], u.rows);
  for (var m = 0u; m < count; m += ${batch}u) {
${steps.map(load).join('\n')}
${steps.map((k) => `    if (moves${k}) { state[target${k} * u.width + column] = value${k}; }`).join('\n')}
  }
}`,
  });

/**
 * `state[targets[m]] = state[sources[m]]` in ascending order of m: one lane moves a column of all rows, so no lane meets another's
 * writes. With ascending lists and sources >= targets no row is overwritten before it is read.
 */
export const copyRowsKernels = { 1: make('u32'), 4: make('vec4<u32>') } as const;
