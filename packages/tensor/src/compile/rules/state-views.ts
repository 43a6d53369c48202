import type { GraphNode } from '../../graph/graph.ts';
import { Tensor } from '../../graph/tensor.ts';
import { bindingAlignmentBytes, sliceOperation } from '../../ops/slice/slice.ts';
import { reshape } from '../../ops/reshape/reshape.ts';
import type { StateSliceAttributes } from '../../ops/state-slice/state-slice.ts';
import { stateSliceOperation } from '../../ops/state-slice/state-slice.ts';
import type { FusionRule } from '../fuse.ts';

/** Operations whose output may be another name for the bytes of their first operand. */
const naming: ReadonlySet<unknown> = new Set([reshape, sliceOperation]);

/** Whether every reader of `node`'s output, under any of its names, comes before the next write of the state. */
function readBeforeWritten(nodes: readonly GraphNode[], at: number, outputs: ReadonlySet<Tensor>): boolean {
  const node = nodes[at]!;
  const state = node.operands[0];
  const names = new Set<unknown>(node.outputs);
  let written = false;
  for (const later of nodes.slice(at + 1)) {
    // A dispatch may not bind one buffer for reading and for writing, so a reader that writes the state needs the copy too.
    written ||= (later.operation.writes ?? []).some((index) => later.operands[index] === state);
    if (!later.operands.some((operand) => names.has(operand))) continue;
    if (written) return false;
    if (naming.has(later.operation)) for (const output of later.outputs) names.add(output);
  }
  return ![...names].some((name) => name instanceof Tensor && outputs.has(name));
}

/**
 * Reads states in place: marks the reads whose bytes stay what they were until the last reader, so that they cost no copy. It must
 * be the last rule, since fusion moves readers.
 */
export const stateViews: FusionRule = {
  name: 'state-views',
  apply(nodes, { graph }) {
    const outputs = new Set(graph.outputs.values());
    return nodes.map((node, at) => {
      if ((node.operation as unknown) !== stateSliceOperation) return node;
      const attributes = node.attributes as StateSliceAttributes;
      const aligned = (attributes.begin * 4) % bindingAlignmentBytes === 0;
      const alias = aligned && readBeforeWritten(nodes, at, outputs);
      return { ...node, attributes: { ...attributes, alias } satisfies StateSliceAttributes };
    });
  },
};
