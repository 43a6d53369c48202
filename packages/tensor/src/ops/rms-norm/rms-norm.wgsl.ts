import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { workgroupReduceWgsl } from '../../wgsl/reduce.ts';

/** Compile-time constants: the row's width and the lanes that share it. */
export interface RmsNormConstants {
  readonly width: number;
  readonly lanes: number;
}

const body = ({ width, lanes }: RmsNormConstants, scaled: string) => /* wgsl */ `
${workgroupReduceWgsl({ name: 'total', type: 'f32', lanes, combine: 'a + b' })}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = ${linearWorkgroupWgsl};
  if (row >= u.rows) { return; }
  let begin = row * ${width}u;
  var squares = 0.0;
  for (var i = lane; i < ${width}u; i += ${lanes}u) { squares = fma(x[begin + i], x[begin + i], squares); }
  let scale = inverseSqrt(total(lane, squares) / ${width}.0 + u.epsilon);
  for (var i = lane; i < ${width}u; i += ${lanes}u) { y[begin + i] = ${scaled}; }
}`;

/** `y = x * scale * (w + offset)`: x and y `[rows, width]`, w `[width]`; one workgroup a row. */
export const rmsNormKernel = defineKernel({
  name: 'rms-norm',
  bindings: { x: read('f32'), w: read('f32'), y: write('f32') },
  uniforms: { rows: 'u32', weightBegin: 'u32', epsilon: 'f32', offset: 'f32' },
  wgsl: (constants: RmsNormConstants) => body(constants, 'x[begin + i] * scale * (w[u.weightBegin + i] + u.offset)'),
});

/** `y = x * scale`, without a weight. */
export const rmsNormPlainKernel = defineKernel({
  name: 'rms-norm-plain',
  bindings: { x: read('f32'), y: write('f32') },
  uniforms: { rows: 'u32', epsilon: 'f32' },
  wgsl: (constants: RmsNormConstants) => body(constants, 'x[begin + i] * scale'),
});
