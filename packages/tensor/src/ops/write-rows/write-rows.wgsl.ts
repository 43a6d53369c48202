import { defineKernel, read, readWrite } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { packHalvesWgsl } from '../append/half.ts';

const head = /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  if (i >= u.count) { return; }
  let row = i / u.width;
  let slot = slots[row];
  if (slot >= u.capacity) { return; }`;

const skipPadding = 'if (row >= used[0]) { return; }';
const move = 'state[slot * u.width + i % u.width] = rows[i];';
const uniforms = { count: 'u32', width: 'u32', capacity: 'u32' } as const;

const plain = (type: 'u32' | 'vec4<u32>', name: string) => ({
  all: defineKernel({
    name: `write-rows-${name}`,
    bindings: { rows: read(type), slots: read('u32'), state: readWrite(type) },
    uniforms,
    wgsl: () => `${head}\n  ${move}\n}`,
  }),
  counted: defineKernel({
    name: `write-rows-counted-${name}`,
    bindings: { rows: read(type), slots: read('u32'), used: read('u32'), state: readWrite(type) },
    uniforms,
    wgsl: () => `${head}\n  ${skipPadding}\n  ${move}\n}`,
  }),
});

/** `state[slots[m]] = rows[m]` for bits of any dtype, by the words that one lane moves; `counted` stops at row `used[0]`. */
export const writeRowsKernels = { 1: plain('u32', 'words'), 4: plain('vec4<u32>', 'vectors') } as const;

const pack = /* wgsl */ `
  let first = row * u.rowElements + 2u * (i % u.width);
  var pair = vec2<f32>(rows[first], 0.0);
  if (2u * (i % u.width) + 1u < u.rowElements) { pair.y = rows[first + 1u]; }
  state[slot * u.width + i % u.width] = packHalves(pair);`;
const packedUniforms = { ...uniforms, rowElements: 'u32' } as const;

/** As {@link writeRowsKernels}, each pair of f32 packed into one word of f16. */
export const writeRowsPackedKernels = {
  all: defineKernel({
    name: 'write-rows-packed',
    bindings: { rows: read('f32'), slots: read('u32'), state: readWrite('u32') },
    uniforms: packedUniforms,
    wgsl: () => `${packHalvesWgsl}\n${head}\n${pack}\n}`,
  }),
  counted: defineKernel({
    name: 'write-rows-packed-counted',
    bindings: { rows: read('f32'), slots: read('u32'), used: read('u32'), state: readWrite('u32') },
    uniforms: packedUniforms,
    wgsl: () => `${packHalvesWgsl}\n${head}\n  ${skipPadding}\n${pack}\n}`,
  }),
} as const;
