import type { GraphNode } from '../../graph/graph.ts';
import type { NdArray, Operand } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { cacheLayout } from '../append/cache.ts';
import type { AttentionFamily, AttentionSizes } from './family.ts';

/** Partials at fixed positions and their sum, or tiles of queries with running sums. */
export type AttentionMethod = 'split' | 'flash';

/**
 * What the operation was called with. Operands: q, keys, values, depths, count, length, then path, begins and sinks if there are any.
 */
export interface AttentionAttributes {
  readonly scale: number;
  readonly window?: number;
  readonly softcap?: number;
  readonly tree?: boolean;
  readonly begins?: boolean;
  readonly sinks?: boolean;
  /** Positions that the cache serves where it is a ring. */
  readonly positions?: number;
  /** Order of sums; the device's by default. */
  readonly family?: AttentionFamily;
  /** Which kernels compute it; chosen by width and device by default. */
  readonly method?: AttentionMethod;
}

/** The operands by name. */
export function attentionOperands<Any extends Operand | NdArray>(
  operands: readonly Any[],
  { tree = false, begins = false, sinks = false }: AttentionAttributes,
) {
  const [q, keys, values, depths, count, length, ...optional] = operands as readonly [
    Any,
    Any,
    Any,
    Any,
    Any,
    Any,
    ...Any[],
  ];
  const take = (present: boolean) => (present ? optional.shift() : undefined);
  return { q, keys, values, depths, count, length, path: take(tree), begins: take(begins), sinks: take(sinks) };
}

/** The sizes of an application. */
export function attentionSizes(node: GraphNode<AttentionAttributes>): AttentionSizes {
  const { q, keys, values, path } = attentionOperands(node.operands, node.attributes);
  const [rows, heads] = (q as Tensor).shape as [number, number];
  const { capacity, kvHeads, keyDim, valueDim, packed } = cacheLayout({ keys: keys as State, values: values as State });
  return {
    rows,
    heads,
    kvHeads,
    keyDim,
    valueDim,
    capacity: node.attributes.positions ?? capacity,
    ring: node.attributes.positions === undefined ? undefined : capacity,
    packed,
    window: node.attributes.window,
    maxDepth: path && (path as Tensor).shape[1],
  };
}
