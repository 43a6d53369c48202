import { sameShape } from '../../graph/dtype.ts';
import type { GraphNode } from '../../graph/graph.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { elementwise } from '../../ops/elementwise/elementwise.ts';
import { inputNames } from '../../ops/elementwise/elementwise.wgsl.ts';
import type { Expression } from '../../ops/elementwise/expression.ts';
import { input, size, substitute } from '../../ops/elementwise/expression.ts';
import type { FusionContext } from '../fuse.ts';

/** An elementwise formula over tensors, with the nodes that were written into it. */
export interface Formula {
  readonly operands: readonly Tensor[];
  readonly expression: Expression;
  readonly absorbed: readonly GraphNode[];
}

/** Applications past which a formula is left alone: an operand that occurs twice doubles what is written into it. */
const largestFormula = 64;

/** Whether a node is an elementwise one. */
export function isElementwise(node: GraphNode | undefined): node is GraphNode<{ readonly expression: Expression }> {
  return (node?.operation as unknown) === elementwise;
}

/** The formula with the producer of one operand written into it, or undefined where it does not fit. */
function inlineOne(
  formula: Formula,
  made: Tensor,
  producer: GraphNode<{ readonly expression: Expression }>,
): Formula | undefined {
  const operands = [
    ...new Set([...formula.operands.filter((tensor) => tensor !== made), ...(producer.operands as readonly Tensor[])]),
  ];
  if (operands.length > inputNames.length) return undefined;
  const place = (tensor: Tensor) => input(operands.indexOf(tensor), tensor.dtype);
  const inner = substitute(producer.attributes.expression, (index) => place(producer.operands[index] as Tensor));
  const expression = substitute(formula.expression, (index) => {
    const tensor = formula.operands[index]!;
    return tensor === made ? inner : place(tensor);
  });
  if (size(expression) > largestFormula) return undefined;
  return { operands, expression, absorbed: [...formula.absorbed, producer as unknown as GraphNode] };
}

/** The formula of an elementwise node with every elementwise producer that it alone reads, and that has its shape, written into it. */
export function inlineElementwise(
  node: GraphNode<{ readonly expression: Expression }>,
  { readers, producers }: Pick<FusionContext, 'readers' | 'producers'>,
): Formula {
  let formula: Formula = {
    operands: node.operands as readonly Tensor[],
    expression: node.attributes.expression,
    absorbed: [],
  };
  const shape = node.outputs[0]!.shape;
  for (;;) {
    let next: Formula | undefined;
    for (const tensor of formula.operands) {
      const producer = producers.get(tensor);
      if (!isElementwise(producer) || readers.get(tensor) !== 1 || !sameShape(tensor.shape, shape)) continue;
      next = inlineOne(formula, tensor, producer);
      if (next) break;
    }
    if (!next) return formula;
    formula = next;
  }
}
