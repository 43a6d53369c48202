import type { Lowering } from '../../compile/lowering.ts';
import type { GraphNode } from '../../graph/graph.ts';
import { largestDivisor } from './family.ts';
import { flashKernel, flashTile, quadAccess } from './flash.wgsl.ts';
import type { AttentionAttributes } from './operands.ts';
import { attentionOperands, attentionSizes } from './operands.ts';

/** Appends the kernel for many rows of a chain. */
export function lowerFlash(lowering: Lowering, node: GraphNode<AttentionAttributes>): void {
  const { q, keys, values, depths, count, begins, sinks } = attentionOperands(node.operands, node.attributes);
  const { rows, heads, kvHeads, keyDim, valueDim, capacity, packed, window, ring } = attentionSizes(node);
  const { scale, softcap } = node.attributes;
  const groupHeads = largestDivisor(heads / kvHeads, flashTile.queries);
  const groupRows = Math.floor(flashTile.queries / groupHeads);
  const sinkPart = sinks && lowering.weight(sinks)[0]!;
  const kernel = flashKernel({
    query: quadAccess(keyDim, false),
    key: quadAccess(keyDim, packed),
    value: quadAccess(valueDim, packed),
    begins: begins !== undefined,
    sinks: sinks !== undefined,
  });
  const known = (bound: number) => (bound > 0 ? Math.min(bound, capacity) : capacity);
  lowering.dispatch(kernel, {
    constants: {
      heads,
      kvHeads,
      keyDim,
      valueDim,
      window,
      ring,
      groupHeads,
      groupRows,
      score: { scale, ...(softcap === undefined ? {} : { softcap }) },
    },
    uniforms: { rows, capacity, sinkBegin: sinkPart ? sinkPart.rowOffset * heads : 0 },
    bindings: {
      q: lowering.tensor(q),
      keys: lowering.state(keys),
      values: lowering.state(values),
      depths: lowering.tensor(depths),
      count: lowering.tensor(count),
      ...(begins ? { begins: lowering.tensor(begins) } : {}),
      ...(sinkPart ? { sinks: sinkPart.codes } : {}),
      y: lowering.tensor(node.outputs[0]!),
    },
    workgroups: [Math.ceil(rows / groupRows), heads / groupHeads, 1],
    bytes: (bound) =>
      4 * rows * heads * (keyDim + valueDim) + (known(bound) * kvHeads * (keyDim + valueDim) * 4) / (packed ? 2 : 1),
    flops: (bound) => 2 * rows * known(bound) * heads * (keyDim + valueDim),
  });
}
