import type { Verifier } from '@forerun/contracts';
import { targetTokens } from '../sample-and-match/targets.ts';
import { walk } from '../walk/walk.ts';

/**
 * Keeps the drafts that are the target's most likely token after penalties, whatever the temperature says: the output is greedy
 * decoding's token for token.
 */
export function greedy(): Verifier {
  return {
    name: 'greedy',
    needs: {},
    exactness: 'tokens',
    verify: (tree, logits, round) => walk(tree, targetTokens(tree, logits, { round, greedy: true })),
  };
}
