import type { Round, TokenTree } from '@forerun/contracts';
import type { Tensor } from '@forerun/tensor';
import { sample } from '@forerun/tensor';

/**
 * The target's own token at each row of a tree: what plain decoding would choose there, with the penalties of the row's own path
 * and the noise of its own position, `length + depth + 1`.
 *
 * @param logits `[M, V]` f32
 * @returns `[M]` u32
 */
export function targetTokens(tree: TokenTree, logits: Tensor, options: { round: Round; greedy: boolean }): Tensor {
  const { round, greedy } = options;
  const { graph } = logits;
  const depths =
    tree.depths && !tree.chain
      ? tree.depths
      : graph.constant(Uint32Array.from({ length: tree.width }, (_, row) => row));
  return sample(logits, {
    ...round.sampling,
    positions: depths.add(round.length).add(1),
    path: { tokens: tree.tokens, ...(tree.parents && !tree.chain ? { parents: tree.parents } : {}) },
    greedy,
  });
}
