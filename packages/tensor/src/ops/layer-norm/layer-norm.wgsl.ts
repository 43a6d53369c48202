import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { workgroupReduceWgsl } from '../../wgsl/reduce.ts';

/** Compile-time constants: the row's width and the lanes that share it. */
export interface LayerNormConstants {
  readonly width: number;
  readonly lanes: number;
}

const body = ({ width, lanes }: LayerNormConstants, scaled: string) => /* wgsl */ `
${workgroupReduceWgsl({ name: 'total', type: 'f32', lanes, combine: 'a + b' })}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = ${linearWorkgroupWgsl};
  if (row >= u.rows) { return; }
  let begin = row * ${width}u;
  var sum = 0.0;
  for (var i = lane; i < ${width}u; i += ${lanes}u) { sum += x[begin + i]; }
  let mean = total(lane, sum) / ${width}.0;
  // Deviations first: the mean of squares less the squared mean cancels where |mean| is large.
  var squares = 0.0;
  for (var i = lane; i < ${width}u; i += ${lanes}u) {
    let deviation = x[begin + i] - mean;
    squares = fma(deviation, deviation, squares);
  }
  let scale = inverseSqrt(total(lane, squares) / ${width}.0 + u.epsilon);
  for (var i = lane; i < ${width}u; i += ${lanes}u) {
    let normed = (x[begin + i] - mean) * scale;
    y[begin + i] = ${scaled};
  }
}`;

/** `y = normed * w + b`: x and y `[rows, width]`, w and b `[width]`; one workgroup a row. */
export const layerNormKernel = defineKernel({
  name: 'layer-norm',
  bindings: { x: read('f32'), w: read('f32'), b: read('f32'), y: write('f32') },
  uniforms: { rows: 'u32', epsilon: 'f32', weightBegin: 'u32', biasBegin: 'u32' },
  wgsl: (constants: LayerNormConstants) => body(constants, 'fma(normed, w[u.weightBegin + i], b[u.biasBegin + i])'),
});

/** `y = normed * w`. */
export const layerNormScaleKernel = defineKernel({
  name: 'layer-norm-scale',
  bindings: { x: read('f32'), w: read('f32'), y: write('f32') },
  uniforms: { rows: 'u32', epsilon: 'f32', weightBegin: 'u32' },
  wgsl: (constants: LayerNormConstants) => body(constants, 'normed * w[u.weightBegin + i]'),
});

/** `y = normed`. */
export const layerNormPlainKernel = defineKernel({
  name: 'layer-norm-plain',
  bindings: { x: read('f32'), y: write('f32') },
  uniforms: { rows: 'u32', epsilon: 'f32' },
  wgsl: (constants: LayerNormConstants) => body(constants, 'normed'),
});
