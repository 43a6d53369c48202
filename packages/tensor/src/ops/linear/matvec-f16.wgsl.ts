/**
 * The decode kernels in half precision: activations and weights as f16, products and the sum of one unit of the weight in f16, sums over
 * units and lanes in f32 in the order of the f32 kernels. Twice the rate of arithmetic where hardware packs halves; the result is off by
 * about 5e-4 of its norm. Every operation in f16 is one rounding that no compiler can merge with the next, so a row's bits depend on
 * nothing but the lanes, as in f32.
 */
import { defineKernel } from '../../kernel/define-kernel.ts';
import { halfWeightReader } from '../../wgsl/half-weight-reader.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linearBindings, linearUniforms, slotsName } from './linear-slots.ts';
import { matvecSubgroupWgsl } from './matvec-subgroup.wgsl.ts';
import type { MatvecConstants, MatvecCut } from './matvec.wgsl.ts';
import { matvecWgsl } from './matvec.wgsl.ts';

/** Whether there is a kernel in half precision for weights in this format: f16, q8 and q4. */
export const hasHalfKernel = ({ format }: LinearSlots): boolean => halfWeightReader(format) !== undefined;

/** The portable exchange of lane sums. `cut.arithmetic` is f16. */
export function matvecF16Kernel(slots: LinearSlots, cut: MatvecCut) {
  return defineKernel({
    name: `arithmetic-f16-matvec-${slotsName(slots)}-${cut.lanes}-lanes`,
    bindings: linearBindings(slots),
    uniforms: linearUniforms,
    features: ['shader-f16'],
    wgsl: (constants: MatvecConstants) => matvecWgsl(constants),
  });
}

/** Lane sums exchanged by subgroups; no subgroup may have fewer lanes than `cut.lanes`. `cut.arithmetic` is f16. */
export function matvecF16SubgroupKernel(slots: LinearSlots, cut: MatvecCut) {
  return defineKernel({
    name: `arithmetic-f16-matvec-${slotsName(slots)}-${cut.lanes}-lanes-subgroups`,
    bindings: linearBindings(slots),
    uniforms: linearUniforms,
    features: ['shader-f16', 'subgroups'],
    wgsl: (constants: MatvecConstants) => matvecSubgroupWgsl(constants),
  });
}
