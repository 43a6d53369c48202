import { defineKernel, read, readWrite, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';

interface ConvolutionConstants {
  /** Channels, D. */
  readonly width: number;
  /** Taps, k. */
  readonly taps: number;
  /** Positions that the record goes round in. */
  readonly ringRows: number;
}

const biases = {
  plain: '',
  biased: ' + b[u.biasBegin + channel]',
} as const;

/**
 * One lane a row and channel. Taps are summed in the order of positions, whether an input comes from this pass or from the record, so
 * that a row's bits do not depend on where the passes were cut.
 */
const make = (kind: keyof typeof biases) =>
  defineKernel({
    name: `short-convolution-${kind}`,
    bindings: {
      x: read('f32'),
      w: read('f32'),
      record: read('f32'),
      begin: read('u32'),
      y: write('f32'),
      ...(kind === 'biased' ? { b: read('f32') } : {}),
    } as Record<'x' | 'w' | 'record' | 'begin' | 'y' | 'b', ReturnType<typeof read>>,
    uniforms: { rows: 'u32', weightBegin: 'u32', biasBegin: 'u32' },
    wgsl: (c: ConvolutionConstants) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  let row = i / ${c.width}u;
  if (row >= u.rows) { return; }
  let channel = i % ${c.width}u;
  let length = begin[0];
  var sum = 0f;
  for (var tap = 0u; tap < ${c.taps}u; tap += 1u) {
    let back = ${c.taps - 1}u - tap;
    var value = 0f;
    if (back <= row) {
      value = x[(row - back) * ${c.width}u + channel];
    } else if (back <= row + length) {
      value = record[((length + row - back) % ${c.ringRows}u) * ${c.width}u + channel];
    }
    sum = fma(w[u.weightBegin + channel * ${c.taps}u + tap], value, sum);
  }
  y[i] = sum${biases[kind]};
}`,
  });

/** Causal depthwise convolution of rows behind a record, without and with a bias. */
export const shortConvolutionKernels = { plain: make('plain'), biased: make('biased') } as const;

/** Writes the rows in use to their places in the record; of more rows than the ring holds, the last. */
export const recordKernel = defineKernel({
  name: 'record-rows',
  bindings: { x: read('f32'), begin: read('u32'), used: read('u32'), record: readWrite('f32') },
  uniforms: { rows: 'u32' },
  wgsl: ({ width, ringRows }: Omit<ConvolutionConstants, 'taps'>) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  let row = i / ${width}u;
  let count = min(used[0], u.rows);
  if (row >= count || row + ${ringRows}u < count) { return; }
  record[((begin[0] + row) % ${ringRows}u) * ${width}u + i % ${width}u] = x[i];
}`,
});
