/**
 * Checks of what drafters and verifiers give, made while a round is traced: what does not fit is told by the part that gave it, not by
 * the kernel that stumbles over it.
 */
import type { Accepted, TokenTree } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { sameShape, shapeText, Tensor } from '@forerun/tensor';

function expectU32(what: string, value: Tensor | undefined, size: number): void {
  if (!(value instanceof Tensor)) {
    throw new MismatchedPartsError(
      `${what}: expected a tensor, u32 [${size}], got ${value === undefined ? 'none' : typeof value}.`,
    );
  }
  if (value.dtype !== 'u32' || !sameShape(value.shape, [size])) {
    throw new MismatchedPartsError(`${what}: expected u32 [${size}], got ${value.dtype} ${shapeText(value.shape)}.`);
  }
}

/**
 * @param name - Of the drafter.
 * @param width - Rows of the round.
 * @param vocabSize - Of the target.
 * @throws {@link MismatchedPartsError} for a tree whose rows are not those of the round, or whose tensors have other shapes or dtypes
 *   than the contract says.
 */
export function checkTree(
  name: string,
  tree: TokenTree,
  { width, vocabSize }: { width: number; vocabSize: number },
): void {
  const part = (field: string) => `Drafter ${name}, ${field} of the proposed tree`;
  if (tree.width !== width) {
    throw new MismatchedPartsError(
      `${part('width')}: expected the ${width} rows of the round, got ${tree.width}; rows that are not needed stand behind count.`,
    );
  }
  if (!Number.isInteger(tree.depth) || tree.depth < 0) {
    throw new MismatchedPartsError(`${part('depth')}: expected the largest depth of a row, got ${tree.depth}.`);
  }
  expectU32(part('tokens'), tree.tokens, width);
  expectU32(part('count'), tree.count, 1);
  if (tree.candidates) expectU32(part('candidates'), tree.candidates, 1);
  if (!tree.chain) {
    expectU32(`${part('parents')}, which is no chain`, tree.parents, width);
    expectU32(`${part('depths')}, which is no chain`, tree.depths, width);
  }
  const { distribution } = tree;
  if (distribution && !(distribution.dtype === 'f32' && sameShape(distribution.shape, [width, vocabSize]))) {
    throw new MismatchedPartsError(
      `${part('distribution')}: expected f32 [${width}, ${vocabSize}], got ${distribution.dtype} ${shapeText(distribution.shape)}.`,
    );
  }
}

/**
 * @param name - Of the verifier.
 * @param width - Rows of the tree.
 * @throws {@link MismatchedPartsError} for a path, a count or a token of other shapes or dtypes than the contract says.
 */
export function checkAccepted(name: string, { path, count, next }: Accepted, width: number): void {
  expectU32(`Verifier ${name}, accepted path`, path, width);
  expectU32(`Verifier ${name}, count of the accepted path`, count, 1);
  expectU32(`Verifier ${name}, next token`, next, 1);
}
