import type { Lowering } from '../../compile/lowering.ts';
import type { GraphNode } from '../../graph/graph.ts';
import { combineKernel } from './combine.wgsl.ts';
import { elementAccess } from './elements.ts';
import type { AttentionFamily } from './family.ts';
import { splitPlan } from './family.ts';
import type { AttentionAttributes } from './operands.ts';
import { attentionOperands, attentionSizes } from './operands.ts';
import { splitKernel } from './split.wgsl.ts';

/** Appends the partial and the combine kernel, once for each pass of rows. */
export function lowerSplit(lowering: Lowering, node: GraphNode<AttentionAttributes>, family: AttentionFamily): void {
  const { q, keys, values, depths, count, length, path, begins, sinks } = attentionOperands(
    node.operands,
    node.attributes,
  );
  const sizes = attentionSizes(node);
  const { rows, heads, kvHeads, keyDim, valueDim, capacity, packed } = sizes;
  const plan = splitPlan(sizes, family);
  const { scale, softcap } = node.attributes;
  const key = elementAccess(keyDim, { packed });
  const value = elementAccess(valueDim, { packed, least: Math.ceil(valueDim / family.lanes) });
  const split = splitKernel({ key, value, tree: path !== undefined, begins: begins !== undefined });
  const sinkPart = sinks && lowering.weight(sinks)[0]!;
  const combine = combineKernel({ sinks: sinkPart !== undefined, begins: begins !== undefined });
  const partials = lowering.scratch(plan.partialBytes, 'attention partials');
  const partialKeys = family.block * plan.partialBlocks;
  const cacheBytes = (4 / (packed ? 2 : 1)) * kvHeads * (keyDim + valueDim);
  const known = (bound: number) => (bound > 0 ? Math.min(bound, capacity) : capacity);
  const constants = { ...family, heads, valueDim, window: sizes.window, partialBlocks: plan.partialBlocks };
  const { ring } = sizes;
  const score = { scale, ...(softcap === undefined ? {} : { softcap }) };
  for (let rowBegin = 0; rowBegin < rows; rowBegin += plan.passRows) {
    const passRows = Math.min(plan.passRows, rows - rowBegin);
    const uniforms = { rowBegin, passRows: plan.passRows, partials: plan.partials, capacity };
    lowering.dispatch(split, {
      constants: { ...constants, kvHeads, keyDim, ring, groupHeads: plan.groupHeads, groupRows: plan.groupRows, score },
      uniforms: { ...uniforms, rows: rowBegin + passRows, maxDepth: sizes.maxDepth ?? 0 },
      bindings: {
        q: lowering.tensor(q),
        keys: lowering.state(keys),
        values: lowering.state(values),
        depths: lowering.tensor(depths),
        count: lowering.tensor(count),
        ...(path ? { length: lowering.tensor(length), path: lowering.tensor(path) } : {}),
        ...(begins ? { begins: lowering.tensor(begins) } : {}),
        partials,
      },
      workgroups: (bound) => [
        Math.min(plan.partials, Math.ceil(known(bound) / partialKeys)),
        heads / plan.groupHeads,
        Math.ceil(passRows / plan.groupRows),
      ],
      bytes: (bound) => known(bound) * cacheBytes,
      flops: (bound) => 2 * passRows * known(bound) * heads * (keyDim + valueDim),
    });
    lowering.dispatch(combine, {
      constants,
      uniforms: { ...uniforms, sinkBegin: sinkPart ? sinkPart.rowOffset * heads : 0 },
      bindings: {
        partials,
        depths: lowering.tensor(depths),
        count: lowering.tensor(count),
        ...(begins ? { begins: lowering.tensor(begins) } : {}),
        ...(sinkPart ? { sinks: sinkPart.codes } : {}),
        y: lowering.tensor(node.outputs[0]!),
      },
      workgroups: [heads, passRows, 1],
      bytes: (bound) => passRows * heads * (valueDim + 2) * 4 * Math.ceil(known(bound) / partialKeys),
    });
  }
}
