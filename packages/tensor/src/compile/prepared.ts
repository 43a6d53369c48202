import type { Graph, GraphNode } from '../graph/graph.ts';
import { Tensor } from '../graph/tensor.ts';
import type { LoweringContext, PreparedForm, PreparedRead } from './lowering.ts';

/** What lowering knows of a tensor that is written prepared. */
export interface PlannedRows {
  readonly form: PreparedForm;
  readonly rowBytes: number;
  /** Whether its plain values are read too. */
  readonly plain: boolean;
}

/** Whether two forms are the same. */
export function sameForm(a: PreparedForm, b: PreparedForm): boolean {
  return (
    a.arithmetic === b.arithmetic &&
    a.lanes === b.lanes &&
    a.width === b.width &&
    (a.norm === undefined) === (b.norm === undefined) &&
    a.norm?.gain === b.norm?.gain &&
    a.norm?.offset === b.norm?.offset
  );
}

/**
 * Which tensors are written prepared by what makes them, so that nothing has to prepare them for the matrices that read them: each in the
 * form that its first such reader wants. `original` gives the tensor that a reshaped one is another name for.
 */
export function planPrepared(
  graph: Graph,
  nodes: readonly GraphNode[],
  context: LoweringContext,
): { readonly rows: ReadonlyMap<Tensor, PlannedRows>; readonly original: (tensor: Tensor) => Tensor } {
  const producers = new Map<Tensor, GraphNode>();
  for (const node of nodes) for (const output of node.outputs) producers.set(output, node);
  const original = (tensor: Tensor): Tensor => {
    const producer = producers.get(tensor);
    return producer?.operation.renames ? original(producer.operands[0] as Tensor) : tensor;
  };
  const reads = new Map<Tensor, PreparedRead>();
  const plain = new Set<Tensor>([...graph.outputs.values()].map(original));
  for (const node of nodes) {
    const offered = (tensor: Tensor, form: PreparedForm): boolean => {
      const known = reads.get(original(tensor));
      if (known) return sameForm(known.form, form);
      const producer = producers.get(original(tensor));
      return producer?.operation.offersPrepared?.(context, producer, form) ?? false;
    };
    const read = node.operation.readsPrepared?.(context, node, offered);
    if (read) reads.set(original(read.tensor), read);
    if (node.operation.renames) continue;
    const operands = node.operands.filter((operand) => operand instanceof Tensor);
    // Once is what it reads prepared; twice, and it reads it otherwise too.
    const once = read && operands.filter((operand) => operand === read.tensor).length === 1;
    for (const operand of operands) if (!once || operand !== read.tensor) plain.add(original(operand));
  }
  const rows = new Map(
    [...reads].map(([tensor, { form, rowBytes }]) => [tensor, { form, rowBytes, plain: plain.has(tensor) }]),
  );
  return { rows, original };
}
