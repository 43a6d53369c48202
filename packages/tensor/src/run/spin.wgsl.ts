import { defineKernel, write } from '../kernel/define-kernel.ts';

/** Invocations of a workgroup that does nothing but multiply. */
export const spinLanes = 128;

/** Multiplies for `rounds` rounds of 64 multiplications: work whose time follows from the clock alone. */
export const spinKernel = defineKernel({
  name: 'spin',
  bindings: { sums: write('f32') },
  uniforms: { rounds: 'u32' },
  wgsl: () => /* wgsl */ `
@compute @workgroup_size(${spinLanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var sum = vec4<f32>(vec4<u32>(lane, lane + 1u, lane + 2u, lane + 3u)) * 1.0e-3;
  for (var round = 0u; round < u.rounds; round++) {
    ${Array.from({ length: 16 }, () => 'sum = fma(sum, vec4<f32>(0.5), vec4<f32>(0.25));').join('\n    ')}
  }
  sums[workgroup.x * ${spinLanes}u + lane] = sum.x + sum.y + sum.z + sum.w;
}`,
});
