import type { Verifier } from '@forerun/contracts';
import { walk } from '../walk/walk.ts';
import type { TargetTokensOptions } from './targets.ts';
import { targetTokens } from './targets.ts';

/**
 * Draws the target's own token at every row, as plain decoding with the same seed would, and keeps the drafts that it drew. Exact
 * for every drafter, tree and width, at any temperature: the output is plain decoding's token for token. A node is accepted with
 * the probability that the target gives to its children together.
 *
 * `by`: how tokens are drawn: by Gumbel noise (default), which drafters may share, or by one uniform a position
 */
export function sampleAndMatch({ by = 'gumbel' }: Pick<TargetTokensOptions, 'by'> = {}): Verifier {
  return {
    name: 'sample-and-match',
    needs: {},
    exactness: 'tokens',
    verify: (tree, logits, round) => walk(tree, targetTokens(tree, logits, { round, greedy: false, by })),
  };
}
