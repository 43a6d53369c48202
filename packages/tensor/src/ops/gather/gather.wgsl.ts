import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';

const make = (type: 'u32' | 'vec4<u32>') =>
  defineKernel({
    name: `gather-${type === 'u32' ? 'words' : 'vectors'}`,
    bindings: { x: read(type), rows: read('u32'), y: write(type) },
    uniforms: { count: 'u32', width: 'u32', available: 'u32' },
    wgsl: () => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  if (i >= u.count) { return; }
  let row = rows[i / u.width];
  var value = ${type}();
  if (row < u.available) { value = x[row * u.width + i % u.width]; }
  y[i] = value;
}`,
  });

/** `y[m] = x[rows[m]]`, or 0 past the end: bits of any dtype, by the words that one lane moves. */
export const gatherKernels = { 1: make('u32'), 4: make('vec4<u32>') } as const;
