import { ArgumentError } from '../../errors.ts';
import type { DType } from '../../graph/dtype.ts';
import { elementCount } from '../../graph/dtype.ts';
import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { activationWgsl } from '../../wgsl/activation.ts';
import type { Expression } from './expression.ts';
import { wgsl } from './expression.ts';

/** Binding names of the inputs, in order; seven and the output make the portable eight. */
export const inputNames = ['a', 'b', 'c', 'd', 'e', 'f', 'g'] as const;

/** WGSL index of a broadcast operand for the linear output index `i`. */
export function offsetWgsl(shape: readonly number[], strides: readonly number[]): string {
  const terms: string[] = [];
  shape.forEach((extent, axis) => {
    const stride = strides[axis]!;
    if (stride === 0 || extent === 1) return;
    const inner = elementCount(shape.slice(axis + 1));
    const quotient = inner === 1 ? 'i' : `i / ${inner}u`;
    const coordinate = axis === 0 ? quotient : `(${quotient}) % ${extent}u`;
    terms.push(stride === 1 ? coordinate : `(${coordinate}) * ${stride}u`);
  });
  const contiguous = shape.every(
    (extent, axis) => extent === 1 || strides[axis] === elementCount(shape.slice(axis + 1)),
  );
  if (contiguous) return 'i';
  return terms.length === 0 ? '0u' : terms.join(' + ');
}

/** The generated kernel for operands of these dtypes: one invocation an element. */
export function elementwiseKernel(inputs: readonly DType[], output: DType) {
  if (inputs.length > inputNames.length) {
    throw new ArgumentError(
      `An elementwise operation takes at most ${inputNames.length} tensors, got ${inputs.length}.`,
    );
  }
  const bindings: Record<string, Binding> = {};
  inputs.forEach((dtype, i) => (bindings[inputNames[i]!] = read(dtype)));
  bindings['y'] = write(output);
  return defineKernel({
    name: `elementwise-${inputs.join('-')}-${output}`,
    bindings,
    wgsl: (c: {
      expression: Expression;
      shape: readonly number[];
      strides: readonly (readonly number[])[];
    }) => /* wgsl */ `
${activationWgsl}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  if (i >= ${elementCount(c.shape)}u) { return; }
${inputs.map((_, k) => `  let x${k} = ${inputNames[k]}[${offsetWgsl(c.shape, c.strides[k]!)}];`).join('\n')}
  y[i] = ${wgsl(
    c.expression,
    inputs.map((_, k) => `x${k}`),
  )};
}`,
  });
}
