import type { Accepted, TokenTree } from '@forerun/contracts';
import type { Operand, Tensor } from '@forerun/tensor';
import { defineOperation, DTypeError, noToken, ShapeError, shapeText } from '@forerun/tensor';
import { boundOutcome, outcomeArrays, outcomeSpecs } from '../verdict/outcome.ts';
import { walkChainKernel, walkTreeKernel } from './walk.wgsl.ts';

/** Most rows of a tree. */
export const maxTreeRows = 64;

/** Order of operands: targets, tokens, rows in use, and for a tree its parents. */
const walkOperation = defineOperation({
  name: 'walk',
  infer: ([targets]) => outcomeSpecs((targets as Tensor).shape[0]!),
  reference([targets, tokens, rows, parents]) {
    const width = targets!.data.length;
    const used = Math.min(Math.max(rows!.data[0]!, 1), width);
    const path = [0];
    for (;;) {
      const at = path.at(-1)!;
      const wanted = targets!.data[at]!;
      let child = at + 1;
      while (child < used && !((parents ? parents.data[child] : child - 1) === at && tokens!.data[child] === wanted))
        child++;
      if (child >= used || wanted === noToken) break;
      path.push(child);
    }
    return outcomeArrays(path, width, targets!.data[path.at(-1)!]!);
  },
  lower(lowering, { operands, outputs }) {
    const [targets, tokens, rows, parents] = operands as readonly [Tensor, Tensor, Tensor, Tensor?];
    const bindings = {
      targets: lowering.tensor(targets),
      tokens: lowering.tensor(tokens),
      rows: lowering.tensor(rows),
      ...boundOutcome(lowering, outputs),
    };
    const request = { constants: { width: targets.shape[0]! }, workgroups: [1, 1, 1] } as const;
    if (parents)
      lowering.dispatch(walkTreeKernel, { ...request, bindings: { ...bindings, parents: lowering.tensor(parents) } });
    else lowering.dispatch(walkChainKernel, { ...request, bindings });
  },
});

/**
 * Walks a tree from the anchor: of the rows under the current one, goes to the first whose token is the target's own choice there,
 * and stops where there is none. What was chosen at the last row is the next token.
 *
 * Of equal siblings the lowest row counts. The anchor alone, plain decoding, needs no walk and costs no dispatch. Tokens that are no ids match nothing, and neither does a row from `tree.count` on.
 *
 * @param targets `[M]` u32: the token that the target chose at each row; 0xffffffff where it could not, which ends the walk
 * @throws {@link ShapeError}, {@link DTypeError} for a tree that does not fit
 */
export function walk(tree: Pick<TokenTree, 'tokens' | 'parents' | 'count' | 'chain'>, targets: Tensor): Accepted {
  const parents = tree.chain ? undefined : tree.parents;
  const width = targets.shape[0] ?? 0;
  if (targets.shape.length !== 1 || width > maxTreeRows) {
    throw new ShapeError(
      `walk: targets must be [M] with at most ${maxTreeRows} rows, got ${shapeText(targets.shape)}.`,
    );
  }
  const columns = { targets, tokens: tree.tokens, parents, count: tree.count };
  for (const [name, tensor] of Object.entries(columns)) {
    if (!tensor) continue;
    const size = name === 'count' ? 1 : width;
    if (tensor.shape.length !== 1 || tensor.shape[0] !== size) {
      throw new ShapeError(`walk: ${name} must be [${size}], got ${shapeText(tensor.shape)}.`);
    }
    if (tensor.dtype !== 'u32') throw new DTypeError(`walk: ${name} must be u32, got ${tensor.dtype}.`);
  }
  if (!tree.chain && !parents) throw new ShapeError('walk: a tree that is no chain must have parents.');
  if (width === 1) {
    const { graph } = targets;
    return { path: graph.constant(Uint32Array.of(0)), count: graph.constant(Uint32Array.of(1)), next: targets };
  }
  const operands: Operand[] = [targets, tree.tokens, tree.count];
  if (parents) operands.push(parents);
  const [path, count, next] = targets.graph.apply(walkOperation, operands, {});
  return { path: path!, count: count!, next: next! };
}
