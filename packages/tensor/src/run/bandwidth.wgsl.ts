import { defineKernel, read, write } from '../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../kernel/grid.ts';

/** Lanes of a workgroup of the streaming read. */
export const streamLanes = 256;
/** Multiplier of the pattern (Knuth's 2^32 / golden ratio): word i holds `i * streamMultiplier` modulo 2^32. */
export const streamMultiplier = 2_654_435_761;

/** Fills `words` with the pattern. */
export const streamFillKernel = defineKernel({
  name: 'stream-fill',
  bindings: { words: write('u32') },
  uniforms: { count: 'u32' },
  wgsl: () => /* wgsl */ `
@compute @workgroup_size(${streamLanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * ${streamLanes}u + lane;
  if (i < u.count) { words[i] = i * ${streamMultiplier}u; }
}`,
});

/** Sums all words, one partial sum a lane, four vectors in flight; reads each word once. */
export const streamReadKernel = defineKernel({
  name: 'stream-read',
  bindings: { words: read('vec4<u32>'), sums: write('u32') },
  uniforms: { rounds: 'u32', stride: 'u32' },
  wgsl: () => /* wgsl */ `
@compute @workgroup_size(${streamLanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = workgroup.x * ${streamLanes}u + lane;
  var sum = vec4<u32>();
  for (var round = 0u; round < u.rounds; round++) {
    let i = first + round * 4u * u.stride;
    sum += words[i] + words[i + u.stride] + words[i + 2u * u.stride] + words[i + 3u * u.stride];
  }
  sums[first] = sum.x + sum.y + sum.z + sum.w;
}`,
});
