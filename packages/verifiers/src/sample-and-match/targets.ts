import type { Round, TokenTree } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { Tensor } from '@forerun/tensor';
import { sample } from '@forerun/tensor';

/**
 * The target's own token at each row of a tree: what plain decoding would choose there, with the penalties of the row's own path
 * and the noise of its own position, the row's span: `length + depth + 1`.
 *
 * @param logits `[M, V]` f32
 * @returns `[M]` u32
 * @throws {@link MismatchedPartsError} for a round without the rows that were verified
 */
export function targetTokens(tree: TokenTree, logits: Tensor, options: { round: Round; greedy: boolean }): Tensor {
  const { round, greedy } = options;
  if (!round.rows) {
    throw new MismatchedPartsError(
      'A verifier needs the rows of the pass that made the logits: expected round.rows, got none.',
    );
  }
  return sample(logits, {
    ...round.sampling,
    positions: round.rows.spans,
    path: { tokens: tree.tokens, ...(tree.parents && !tree.chain ? { parents: tree.parents } : {}) },
    greedy,
  });
}
