import { defineKernel, read } from '../../kernel/define-kernel.ts';
import type { RowForm } from './prepared-rows.wgsl.ts';
import { rowBindings, rowUnit, rowWriter } from './prepared-rows.wgsl.ts';

/** Invocations of a workgroup. */
const lanes = 128;

/**
 * Prepared rows of `x`, times `gain + offset` in the precision of the form's arithmetic, where what made `x` did not write them. For i8,
 * each block of 32 values is `step * code` with `step = max |value| / 127`. One workgroup a row.
 */
export function prepareRowsKernel({ arithmetic, norm }: RowForm) {
  return defineKernel({
    name: `prepare-rows-${arithmetic}${norm ? '-norm' : ''}`,
    bindings: { x: read('vec4<f32>'), ...rowBindings({ norm }) },
    features: arithmetic === 'f16' ? ['shader-f16'] : [],
    wgsl: (form: RowForm) => prepareRowsWgsl(form),
  });
}

function prepareRowsWgsl(form: RowForm): string {
  const unit = rowUnit[form.arithmetic];
  const units = form.width / unit;
  return /* wgsl */ `
fn rawQuad(at: u32) -> vec4<f32> { return x[at]; }
${rowWriter(form)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let row = workgroup.x;
  for (var unit = local; unit < ${units}u; unit += ${lanes}u) {
    prepareUnit(row, unit, (row * ${units}u + unit) * ${unit / 4}u);
  }
}`;
}
