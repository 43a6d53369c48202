import type { Verifier } from '@forerun/contracts';
import { ArgumentError } from '@forerun/tensor';
import { judgeChain } from '../chain/chain.ts';
import { draftProbabilities, roundUniforms, targetProbabilities } from '../draw/round-draws.ts';
import type { DraftSource } from './multi-round.reference.ts';
import { judgeTree } from './multi-round.ts';

/** How drafts came about, and how strictly they are judged. */
export interface RejectionOptions {
  /**
   * `without-replacement` (default): a node's children were drawn from the row's distribution, no token twice. `with-replacement`:
   * independently of each other. `certain`: chosen without chance, as the most likely ones are; needs no distribution.
   */
  readonly drafts?: DraftSource;
  /**
   * w in 0 < w <= 1: on chains, accepts with `1 - w + w p(x)/q(x)`. 1 (default) keeps the target's distribution; anything below is
   * lossy, and says so in `exactness`.
   */
  readonly ensembleWeight?: number;
}

/**
 * Rejection sampling: drafts are accepted with probability `min(1, p(x)/q(x))`, and what replaces a rejected one is drawn from
 * `max(p - q, 0)`, so that the output has the target's distribution. On chains that of Leviathan et al. 2023 and Chen et al. 2023;
 * on trees the multi-round form of SpecInfer, Sequoia and EAGLE, where a node's children are tried in order.
 *
 * `p` is the target's distribution after temperature, filters and penalties; at temperature 0 the output is greedy decoding's. The
 * noise is that of `round.noise` under the purposes `accept` and `residual`, keyed by the anchor's position.
 *
 * @throws {@link ArgumentError} for a weight outside of (0, 1], or one below 1 together with a tree
 */
export function rejectionSampling(options: RejectionOptions = {}): Verifier {
  const { drafts = 'without-replacement', ensembleWeight = 1 } = options;
  if (!(ensembleWeight > 0 && ensembleWeight <= 1)) {
    throw new ArgumentError(`rejectionSampling: expected 0 < ensembleWeight <= 1, got ${ensembleWeight}.`);
  }
  return {
    name: 'rejection-sampling',
    needs: { distribution: drafts !== 'certain' },
    exactness: ensembleWeight === 1 ? 'distribution' : 'lossy',
    verify(tree, logits, round) {
      const operands = {
        tree,
        p: targetProbabilities(tree, logits, round),
        q: drafts === 'certain' ? undefined : draftProbabilities('rejectionSampling', tree),
        accept: roundUniforms(round, tree.width, 'accept'),
        residual: roundUniforms(round, tree.width, 'residual'),
      };
      if (tree.chain) return judgeChain(operands, { rule: 'draft', ensembleWeight });
      if (ensembleWeight !== 1) {
        throw new ArgumentError('rejectionSampling: ensembleWeight is for chains; expected 1 for a tree.');
      }
      return judgeTree(operands, drafts);
    },
  };
}
