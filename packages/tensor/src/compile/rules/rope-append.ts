import type { GraphNode } from '../../graph/graph.ts';
import type { Operand, Operation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { appendOperation } from '../../ops/append/append.ts';
import { fusedLinearOperation } from '../../ops/linear/fused-linear.ts';
import { reshape } from '../../ops/reshape/reshape.ts';
import type { RmsNormAttributes } from '../../ops/rms-norm/rms-norm.ts';
import { rmsNormOperation } from '../../ops/rms-norm/rms-norm.ts';
import type { RopeAppendAttributes } from '../../ops/rope-append/rope-append.ts';
import { ropeAppendList, ropeAppendOperation } from '../../ops/rope-append/rope-append.ts';
import type { RopeAttributes } from '../../ops/rope/rope.ts';
import { ropeOperation } from '../../ops/rope/rope.ts';
import type { FusionContext, FusionRule } from '../fuse.ts';

/** Heads that are rotated, and normed before where they are, from one output of a linear operation. */
interface Turned {
  readonly rope: GraphNode;
  readonly norm: GraphNode | undefined;
  /** `[M, H, E]` before norm and rotation. */
  readonly source: Tensor;
  readonly linear: GraphNode;
}

/** The node, if it applies `operation`. */
const only = (node: GraphNode | undefined, operation: unknown) =>
  (node?.operation as unknown) === operation ? node : undefined;

/** The linear operation with several outputs that makes a tensor, seen through reshapes of which each has one reader. */
function packedSource(
  tensor: Tensor,
  { producers, readers }: FusionContext,
  soleReader: boolean,
): GraphNode | undefined {
  let current = tensor;
  for (;;) {
    if (soleReader && readers.get(current) !== 1) return undefined;
    const producer = producers.get(current);
    const linear = only(producer, fusedLinearOperation);
    if (linear) return linear.outputs.length > 1 ? linear : undefined;
    const reshaped = only(producer, reshape);
    if (!reshaped) return undefined;
    current = reshaped.operands[0] as Tensor;
  }
}

/** Reads a rotation of heads whose every step has one reader: what the next step overwrites is then nobody else's. */
function turned(node: GraphNode | undefined, context: FusionContext): Turned | undefined {
  const rope = only(node, ropeOperation);
  if (!rope) return undefined;
  const x = rope.operands[0] as Tensor;
  const producer = only(context.producers.get(x), rmsNormOperation);
  const norm = producer?.operands.length === 2 ? producer : undefined;
  if (norm && context.readers.get(x) !== 1) return undefined;
  const source = norm ? (norm.operands[0] as Tensor) : x;
  const linear = packedSource(source, context, true);
  return linear && { rope, norm, source, linear };
}

function alike(a: Turned, b: Turned): boolean {
  const [first, second] = [a.rope.attributes, b.rope.attributes] as readonly RopeAttributes[];
  const [one, two] = [a.norm?.attributes, b.norm?.attributes] as readonly (RmsNormAttributes | undefined)[];
  return (
    first!.frequencies === second!.frequencies &&
    first!.layout === second!.layout &&
    a.rope.operands.slice(1).every((operand, i) => operand === b.rope.operands[i + 1]) &&
    a.source.shape.at(-1) === b.source.shape.at(-1) &&
    one?.epsilon === two?.epsilon &&
    one?.offset === two?.offset
  );
}

/** The fused node for one append, and the nodes that it replaces. */
function fused(
  append: GraphNode,
  queries: Turned,
  context: FusionContext,
): { node: GraphNode; replaced: readonly GraphNode[] } | undefined {
  const [k, v, slots, count, keys, values] = append.operands as readonly [Tensor, Tensor, Tensor, Tensor, State, State];
  if (context.readers.get(k) !== 1) return undefined;
  const keyHeads = turned(context.producers.get(k), context);
  if (!keyHeads || keyHeads.linear !== queries.linear || !alike(queries, keyHeads)) return undefined;
  if (packedSource(v, context, false) !== queries.linear) return undefined;
  const [, positions, steps, spans] = queries.rope.operands as readonly Tensor[];
  const gains = [queries, keyHeads].map(({ norm }) => norm?.operands[1] as Weight | undefined);
  // Both would make nine storage buffers, one more than portable devices bind.
  if (gains[0] && (spans || !context.weights.group(gains as Weight[]))) return undefined;
  const attributes: RopeAppendAttributes = {
    ...(queries.rope.attributes as RopeAttributes),
    ...(queries.norm ? { norm: queries.norm.attributes as RmsNormAttributes } : {}),
    bySpan: spans !== undefined,
  };
  const operands = ropeAppendList({
    q: queries.source,
    k: keyHeads.source,
    v,
    slots,
    count,
    keys,
    values,
    positions: positions as Operand,
    steps: steps as Operand,
    spans,
    queryGain: gains[0],
    keyGain: gains[1],
  });
  const replaced = [append, queries.rope, queries.norm, keyHeads.rope, keyHeads.norm].filter(
    (node) => node !== undefined,
  );
  const operation = ropeAppendOperation as unknown as Operation;
  return { node: { ...append, operation, operands, attributes, outputs: queries.rope.outputs }, replaced };
}

/**
 * Norms and rotates queries and keys, and writes keys and values to the cache, in one dispatch. It needs q, k and v from one linear
 * operation, whose buffer it then updates in place, so nobody else may read q; runs after the rule that groups matrices.
 */
export const ropeAppend: FusionRule = {
  name: 'rope-append',
  apply(nodes, context) {
    const replacements = new Map<GraphNode, GraphNode | undefined>();
    nodes.forEach((append, at) => {
      if (!only(append, appendOperation)) return;
      for (const rope of nodes.slice(0, at)) {
        const queries = replacements.has(rope) ? undefined : turned(rope, context);
        // The rotated queries exist from the append on, so whoever reads them comes later.
        if (!queries || nodes.slice(0, at).some(({ operands }) => operands.includes(rope.outputs[0]!))) continue;
        if (rope.outputs[0] === append.operands[0]) continue;
        const made = fused(append, queries, context);
        if (!made) continue;
        for (const node of made.replaced) replacements.set(node, undefined);
        replacements.set(append, made.node);
        return;
      }
    });
    return nodes.flatMap((node) => (replacements.has(node) ? (replacements.get(node) ?? []) : node));
  },
};
