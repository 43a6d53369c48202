import { defineKernel, read, readWrite } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { packHalvesWgsl } from './half.ts';

interface AppendConstants {
  /** Words of a slot of keys, and of values. */
  readonly keyWords: number;
  readonly valueWords: number;
}

const body = (c: AppendConstants, load: (name: string, index: string) => string) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  let row = i / ${Math.max(c.keyWords, c.valueWords)}u;
  let word = i % ${Math.max(c.keyWords, c.valueWords)}u;
  if (row >= min(count[0], u.rows)) { return; }
  let slot = slots[row];
  if (slot >= u.capacity) { return; }
  if (word < ${c.keyWords}u) { keys[slot * ${c.keyWords}u + word] = ${load('k', `row * ${c.keyWords}u + word`)}; }
  if (word < ${c.valueWords}u) { values[slot * ${c.valueWords}u + word] = ${load('v', `row * ${c.valueWords}u + word`)}; }
}`;

/** Rows into an f32 cache. */
export const appendKernel = defineKernel({
  name: 'append-kv',
  bindings: {
    k: read('f32'),
    v: read('f32'),
    slots: read('u32'),
    count: read('u32'),
    keys: readWrite('f32'),
    values: readWrite('f32'),
  },
  uniforms: { rows: 'u32', capacity: 'u32' },
  wgsl: (c: AppendConstants) => body(c, (name, index) => `${name}[${index}]`),
});

/** Rows into a cache of packed f16. */
export const appendPackedKernel = defineKernel({
  name: 'append-kv-packed',
  bindings: {
    k: read('vec2<f32>'),
    v: read('vec2<f32>'),
    slots: read('u32'),
    count: read('u32'),
    keys: readWrite('u32'),
    values: readWrite('u32'),
  },
  uniforms: { rows: 'u32', capacity: 'u32' },
  wgsl: (c: AppendConstants) => `${packHalvesWgsl}\n${body(c, (name, index) => `packHalves(${name}[${index}])`)}`,
});
