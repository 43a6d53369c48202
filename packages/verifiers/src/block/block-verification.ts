import type { Verifier } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { judgeChain } from '../chain/chain.ts';
import { draftProbabilities, roundUniforms, targetProbabilities } from '../draw/round-draws.ts';

/** How the drafts of a chain came about. */
export interface BlockOptions {
  /** `drawn` (default) from the distribution that comes with the chain, or `certain`: chosen without chance. */
  readonly drafts?: 'drawn' | 'certain';
}

/**
 * Block verification of a chain: its drafts are judged together, so that on average at least as many are accepted as by rejection
 * sampling, and the output has the target's distribution all the same. With `w_0 = 1`, `w_i = min(w_(i-1) p(x_i)/q(x_i), 1)` and
 * `S_i = sum max(w_i p - q, 0)`, the longest prefix with `u_i <= S_i / (S_i + 1 - w_i)` (`w_i` for the whole) is accepted, and the
 * next token drawn from `max(w p - q, 0)`.
 *
 * Source: Sun et al. 2024, "Block verification accelerates speculative decoding" (2403.10444).
 */
export function blockVerification({ drafts = 'drawn' }: BlockOptions = {}): Verifier {
  return {
    name: 'block-verification',
    needs: { distribution: drafts === 'drawn' },
    exactness: 'distribution',
    verify(tree, logits, round) {
      if (!tree.chain) {
        throw new MismatchedPartsError(
          'blockVerification judges chains; got a tree. Use traversalVerification(), which is the same rule for trees.',
        );
      }
      return judgeChain(
        {
          tree,
          p: targetProbabilities(tree, logits, round),
          q: drafts === 'certain' ? undefined : draftProbabilities('blockVerification', tree),
          accept: roundUniforms(round, tree.width, 'accept'),
          residual: roundUniforms(round, tree.width, 'residual'),
        },
        { rule: 'block' },
      );
    },
  };
}
