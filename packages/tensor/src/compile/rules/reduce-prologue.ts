import { sameShape } from '../../graph/dtype.ts';
import type { GraphNode } from '../../graph/graph.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { broadcastShapes, elementwise } from '../../ops/elementwise/elementwise.ts';
import { inputNames } from '../../ops/elementwise/elementwise.wgsl.ts';
import type { Expression } from '../../ops/elementwise/expression.ts';
import { input, substitute } from '../../ops/elementwise/expression.ts';
import type { ReduceAttributes } from '../../ops/reduce/reduce.ts';
import { reduceOperation } from '../../ops/reduce/reduce.ts';
import type { FusionContext, FusionRule } from '../fuse.ts';

/** The reduction with `producer` computed inside it, or undefined where that does not fit. */
function absorb(
  node: GraphNode<ReduceAttributes>,
  producer: GraphNode<{ readonly expression: Expression }>,
): GraphNode | undefined {
  const tensors = node.operands as readonly Tensor[];
  const made = producer.outputs[0]!;
  // A producer that the reduction repeats along an axis would be computed again for each repetition.
  if (!sameShape(made.shape, broadcastShapes(tensors.map(({ shape }) => shape)))) return undefined;
  const operands = [
    ...new Set([...tensors.filter((tensor) => tensor !== made), ...(producer.operands as readonly Tensor[])]),
  ];
  if (operands.length > inputNames.length) return undefined;
  const place = (tensor: Tensor) => input(operands.indexOf(tensor), tensor.dtype);
  const inner = substitute(producer.attributes.expression, (index) => place(producer.operands[index] as Tensor));
  const expression = substitute(node.attributes.expression, (index) => {
    const tensor = tensors[index]!;
    return tensor === made ? inner : place(tensor);
  });
  return { ...node, operands, attributes: { ...node.attributes, expression } } as unknown as GraphNode;
}

/** Computes an elementwise producer inside the reduction that alone reads it: one dispatch, and the intermediate is never stored. */
export const reducePrologue: FusionRule = {
  name: 'reduce-prologue',
  apply(nodes, { readers, producers }: FusionContext) {
    const absorbed = new Set<GraphNode>();
    const rewritten = nodes.map((node) => {
      if ((node.operation as unknown) !== reduceOperation) return node;
      let current = node;
      for (;;) {
        const next = current.operands
          .map((operand) => producers.get(operand as Tensor))
          .filter((producer) => producer && (producer.operation as unknown) === elementwise)
          .filter((producer) => readers.get(producer!.outputs[0]!) === 1)
          .map((producer) => ({ producer: producer!, merged: absorb(current as never, producer as never) }))
          .find(({ merged }) => merged);
        if (!next) return current;
        absorbed.add(next.producer);
        current = next.merged!;
      }
    });
    return rewritten.filter((node) => !absorbed.has(node));
  },
};
