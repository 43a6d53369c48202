import type { WeightFormat } from '../../graph/weight.ts';
import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { quadFunction, quadType, weightReader } from '../../wgsl/weight-reader.ts';
import type { LinearNorm } from './linear-slots.ts';
import { gainQuadWgsl } from './linear-slots.ts';

export interface PrepareNormConstants {
  /** Format and lanes of the matrix that follows: they fix the order in which squares are added. */
  readonly format: WeightFormat;
  readonly lanes: number;
  readonly width: number;
  readonly norm: LinearNorm;
}

/**
 * `scaled[m, k] = x[m, k] * (gain[k] + offset)` and `squares[m] = sum_k x[m, k]²`, in the order of the matrix kernel that would do it
 * itself: for many rows it is cheaper to do it once than in every workgroup. One workgroup a row.
 */
export function prepareNormKernel({ norm, width }: PrepareNormConstants) {
  const bindings: Record<string, Binding> = {
    x: read(quadType(width)),
    ...(norm.gainRow === undefined ? {} : { gain: read(quadType(width)) }),
    scaled: write('f32'),
    squares: write('f32'),
  };
  return defineKernel({
    name: 'prepare-norm',
    bindings,
    wgsl: (c: PrepareNormConstants) => {
      const reader = weightReader(c.format, c.width);
      const quads = Array.from({ length: reader.quads }, (_, q) => q);
      return /* wgsl */ `
${quadFunction('x', c.width, { padded: true })}
${c.norm.gainRow === undefined ? '' : quadFunction('gain', c.width, { padded: true })}
var<workgroup> lanes: array<f32, ${c.lanes}>;
var<private> total: f32;
fn quad(row: u32, k: u32) {
  let raw = xQuad(row, k);
  let value = raw * ${gainQuadWgsl(c.norm, 'k')};
  for (var i = 0u; i < 4u; i++) {
    total = fma(raw[i], raw[i], total);
    if (k + i < ${c.width}u) { scaled[row * ${c.width}u + k + i] = value[i]; }
  }
}
@compute @workgroup_size(${c.lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.x;
  for (var unit = lane; unit < ${reader.units}u; unit += ${c.lanes}u) {
    ${quads.map((q) => `quad(row, ${reader.position('unit', q)});`).join('\n    ')}
  }
  lanes[lane] = total;
  for (var step = 1u; step < ${c.lanes}u; step *= 2u) {
    workgroupBarrier();
    if (lane % (2u * step) == 0u) { lanes[lane] += lanes[lane + step]; }
  }
  if (lane == 0u) { squares[row] = lanes[0]; }
}`;
    },
  });
}
