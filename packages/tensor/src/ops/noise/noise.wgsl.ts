import { defineKernel, read, uniform, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { philoxWgsl } from '../../wgsl/philox.ts';
import { noiseKind } from './noise.reference.ts';

/** One invocation for four neighbouring tokens of a row: one block of Philox. */
export const gumbelNoiseKernel = defineKernel({
  name: 'gumbel-noise',
  bindings: { positions: read('u32'), y: write('f32'), settings: uniform('array<vec4<u32>, 4>') },
  wgsl: (c: { rows: number; width: number; stream: number }) => {
    const blocks = Math.ceil(c.width / 4);
    return /* wgsl */ `
${philoxWgsl}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  if (i >= ${c.rows * blocks}u) { return; }
  let row = i / ${blocks}u;
  let block = i % ${blocks}u;
  let seed = vec2<u32>(settings[1].w, settings[2].x);
  let words = philox(vec4<u32>(block, positions[row], ${c.stream}u, ${noiseKind.gumbel}u), seed);
  for (var k = 0u; k < 4u; k++) {
    let token = block * 4u + k;
    if (token < ${c.width}u) { y[row * ${c.width}u + token] = gumbelOf(words[k]); }
  }
}`;
  },
});

/** One invocation a draw. */
export const uniformNoiseKernel = defineKernel({
  name: 'uniform-noise',
  bindings: { positions: read('u32'), indexes: read('u32'), y: write('f32'), settings: uniform('array<vec4<u32>, 4>') },
  wgsl: (c: { count: number; stream: number }) => /* wgsl */ `
${philoxWgsl}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  if (i >= ${c.count}u) { return; }
  let index = indexes[i];
  let seed = vec2<u32>(settings[1].w, settings[2].x);
  let words = philox(vec4<u32>(index >> 2u, positions[i], ${c.stream}u, ${noiseKind.uniform}u), seed);
  y[i] = uniformOf(words[index & 3u]);
}`,
});
