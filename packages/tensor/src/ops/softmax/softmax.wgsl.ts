import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { extremesWgsl, workgroupReduceWgsl } from '../../wgsl/reduce.ts';

/** `y = exp(x - max) / sum(exp(x - max))`: x and y `[rows, width]`; one workgroup a row. */
export const softmaxKernel = defineKernel({
  name: 'softmax',
  bindings: { x: read('f32'), y: write('f32') },
  uniforms: { rows: 'u32' },
  wgsl: ({ width, lanes }: { width: number; lanes: number }) => /* wgsl */ `
${extremesWgsl}
const lowest = -1.0e30;
${workgroupReduceWgsl({ name: 'largest', type: 'f32', lanes, combine: 'maxOrNan(a, b)' })}
${workgroupReduceWgsl({ name: 'total', type: 'f32', lanes, combine: 'a + b' })}
// A difference of such numbers stays finite, minus infinity included; a NaN fails the comparison and stays. What exp makes of a
// NaN is up to the driver, so the peak carries it too.
fn logit(i: u32) -> f32 { return select(x[i], lowest, x[i] < lowest); }
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = ${linearWorkgroupWgsl};
  if (row >= u.rows) { return; }
  let begin = row * ${width}u;
  let end = begin + ${width}u;
  var peak = lowest;
  for (var i = begin + lane; i < end; i += ${lanes}u) { peak = maxOrNan(peak, logit(i)); }
  peak = largest(lane, peak);
  var sum = 0.0;
  for (var i = begin + lane; i < end; i += ${lanes}u) { sum += exp(logit(i) - peak); }
  sum = total(lane, sum);
  for (var i = begin + lane; i < end; i += ${lanes}u) { y[i] = select(exp(logit(i) - peak) / sum, peak, isNan(peak)); }
}`,
});
