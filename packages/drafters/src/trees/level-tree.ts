import { concat, gatherRows, type Tensor } from '@forerun/tensor';
import type { TreeShape } from './tree-shape.ts';

/** Nodes of one depth that are drafted on. */
export interface LevelNodes {
  /** Depth under the anchor, from 1. */
  readonly depth: number;
  /** `[k]` u32. */
  readonly tokens: Tensor;
  /** `[k]` u32: which of the nodes drafted on one depth up each belongs to; all 0 at depth 1. */
  readonly parents: Tensor;
}

/** How a tree of fixed form is filled level by level. */
export interface LevelTreeOptions {
  /** `[1]` u32. */
  readonly anchor: Tensor;
  /** `[1, V]` f32: the draft's logits behind the anchor. */
  readonly logits: Tensor;
  /** Runs the draft on nodes: logits `[k, V]`. */
  readonly expand: (nodes: LevelNodes) => Tensor;
  /** The children of nodes: target tokens `[k, ranks]` u32 of logits `[k, V]`, the tokens of `depth`. */
  readonly children: (logits: Tensor, level: { readonly depth: number; readonly ranks: number }) => Tensor;
}

/** A filled tree. */
export interface LevelTree {
  /** `[W]` u32: tokens of the rows. */
  readonly tokens: Tensor;
  /** Rows that were drafted on, in the order in which they were. */
  readonly expanded: readonly number[];
}

/**
 * Fills a tree of fixed form where the candidates of a node depend on its path: at each depth the draft runs on the nodes that have
 * children. EAGLE-1's and Hydra's trees.
 */
export function levelTree(shape: TreeShape, options: LevelTreeOptions): LevelTree {
  const { anchor, expand, children } = options;
  const { graph } = anchor;
  const column = (values: readonly number[]) => graph.constant(Uint32Array.from(values));
  const inner = new Set(shape.parents.slice(1));
  const levels: Tensor[] = [anchor];
  const expanded = [0];
  let above = [0];
  let logits = options.logits;
  for (let depth = 1; depth <= shape.depth; depth++) {
    const rows = shape.depths.flatMap((at, row) => (at === depth ? [row] : []));
    const rankOf = (row: number) => shape.paths[row - 1]!.at(-1)!;
    const ranks = 1 + Math.max(...rows.map(rankOf));
    const candidates = children(logits, { depth, ranks }).reshape([above.length * ranks, 1]);
    const tokensOf = (some: readonly number[]) =>
      gatherRows(
        candidates,
        column(some.map((row) => above.indexOf(shape.parents[row]!) * ranks + rankOf(row))),
      ).reshape([some.length]);
    levels.push(tokensOf(rows));
    const next = rows.filter((row) => inner.has(row));
    if (next.length === 0) break;
    const parents = column(next.map((row) => above.indexOf(shape.parents[row]!)));
    logits = expand({ depth, tokens: tokensOf(next), parents });
    expanded.push(...next);
    above = next;
  }
  return { tokens: concat(levels, 0), expanded };
}
