import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';

/** Binding names of the inputs, in order; seven and the output make the portable eight. */
export const concatNames = ['a', 'b', 'c', 'd', 'e', 'f', 'g'] as const;

/** Uniforms that hold where each input ends within a block. */
const endNames = ['endA', 'endB', 'endC', 'endD', 'endE', 'endF', 'endG'] as const;

/** Uniform fields `endA`, `endB`, ... from their values. */
export function concatEnds(ends: readonly number[]): Record<string, number> {
  return Object.fromEntries(ends.map((end, i) => [endNames[i]!, end]));
}

const branch = (name: string, index: number) => {
  const begin = index === 0 ? '0u' : `u.${endNames[index - 1]}`;
  const end = `u.${endNames[index]}`;
  return `  if (within >= ${begin} && within < ${end}) { y[at] = ${name}[block * (${end} - ${begin}) + within - ${begin}]; }`;
};

/** Interleaves blocks of `inputs` arrays: block k of the output holds block k of each, one after the other. */
export function concatKernel(inputs: number) {
  const names = concatNames.slice(0, inputs);
  const bindings: Record<string, Binding> = {};
  for (const name of names) bindings[name] = read('u32');
  return defineKernel({
    name: `concat-${inputs}`,
    bindings: { ...bindings, y: write('u32') },
    uniforms: {
      count: 'u32',
      toBegin: 'u32',
      toStride: 'u32',
      ...Object.fromEntries(names.map((_, i) => [endNames[i]!, 'u32' as const])),
    } as Record<string, 'u32'>,
    wgsl: () => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  if (i >= u.count) { return; }
  let block = i / u.${endNames[inputs - 1]};
  let within = i % u.${endNames[inputs - 1]};
  let at = u.toBegin + block * u.toStride + within;
${names.map(branch).join('\n')}
}`,
  });
}
