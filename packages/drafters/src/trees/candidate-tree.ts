import type { TokenTree } from '@forerun/contracts';
import { concat, gatherRows, ShapeError, shapeText, type Tensor } from '@forerun/tensor';
import type { TreeShape } from './tree-shape.ts';
import { candidateIndexes } from './tree-shape.ts';

/**
 * A static tree filled with candidates: row r takes the candidate of its rank at its depth. Parents and depths are constants of
 * the program.
 *
 * @param given.anchor `[1]` u32
 * @param given.candidates `[D, k]` u32: the k best tokens of each depth, best first
 * @param given.count `[1]` u32: rows in use, all by default
 * @throws {@link ShapeError} where the shape asks for more depths or ranks than there are candidates
 */
export function candidateTree(
  shape: TreeShape,
  given: { readonly anchor: Tensor; readonly candidates: Tensor; readonly count?: Tensor },
): TokenTree {
  const { anchor, candidates } = given;
  const [depths, ranks] = candidates.shape as [number, number];
  if (candidates.shape.length !== 2 || depths < shape.depth || ranks < shape.ranks) {
    throw new ShapeError(
      `candidateTree: the tree needs candidates of at least [${shape.depth}, ${shape.ranks}], got ${shapeText(candidates.shape)}.`,
    );
  }
  const { graph } = anchor;
  const column = (values: readonly number[]) => graph.constant(Uint32Array.from(values));
  const flat = concat([anchor, candidates.reshape([-1])], 0).reshape([-1, 1]);
  const chain = shape.width === shape.depth + 1;
  return {
    width: shape.width,
    depth: shape.depth,
    chain,
    tokens: gatherRows(flat, column(candidateIndexes(shape, ranks))).reshape([shape.width]),
    ...(chain ? {} : { parents: column(shape.parents), depths: column(shape.depths) }),
    count: given.count ?? column([shape.width]),
  };
}
