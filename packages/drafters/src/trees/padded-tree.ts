import type { TokenTree } from '@forerun/contracts';
import { concat, type Tensor } from '@forerun/tensor';

/** A vector with `fill` behind it, `size` long. */
export function paddedColumn(column: Tensor, size: number, fill = 0): Tensor {
  const unused = size - column.shape[0]!;
  return unused > 0 ? concat([column, column.graph.constant(new Uint32Array(unused).fill(fill))], 0) : column;
}

/**
 * A tree in a round that may be wider than it; rows behind it stay out of use.
 *
 * @param width - Rows of the round.
 * @param ready - `[1]` u32: 0 where only the anchor is in use.
 */
export function paddedTree(tree: TokenTree, width: number, ready: Tensor): TokenTree {
  const { parents, depths } = tree;
  return {
    ...tree,
    width,
    tokens: paddedColumn(tree.tokens, width),
    ...(parents && depths ? { parents: paddedColumn(parents, width), depths: paddedColumn(depths, width, 1) } : {}),
    count: ready.mul(tree.count.sub(1)).add(1),
  };
}
