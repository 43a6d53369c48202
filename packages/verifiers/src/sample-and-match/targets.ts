import type { Round, TokenTree } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { Tensor } from '@forerun/tensor';
import { argmax, noToken, reduce, sample } from '@forerun/tensor';
import { draw } from '../draw/draw.ts';
import { targetProbabilities } from '../draw/round-draws.ts';
import { isPhilox } from '../noise/philox-noise.ts';

/** How the target's tokens are chosen. */
export interface TargetTokensOptions {
  readonly round: Round;
  /** Ignore the temperature. */
  readonly greedy: boolean;
  /** `gumbel` (default): the largest `ln p + gumbel`. `inverse`: by inverting the distribution at one uniform a position. */
  readonly by?: 'gumbel' | 'inverse';
}

/**
 * The target's own token at each row of a tree: what plain decoding would choose there, with the penalties of the row's own path
 * and the noise of its own position, the row's span: `length + depth + 1`. Noise is `round.noise` under the purpose `target`; that of
 * {@link philoxNoise} is made inside of the kernel that samples, any other is added to the distribution.
 *
 * @param logits `[M, V]` f32
 * @returns `[M]` u32
 * @throws {@link MismatchedPartsError} for a round without the rows that were verified
 */
export function targetTokens(tree: TokenTree, logits: Tensor, options: TargetTokensOptions): Tensor {
  const { round, greedy, by = 'gumbel' } = options;
  if (!round.rows) {
    throw new MismatchedPartsError(
      'A verifier needs the rows of the pass that made the logits: expected round.rows, got none.',
    );
  }
  const positions = round.rows.spans;
  if (greedy || (by === 'gumbel' && isPhilox(round.noise))) {
    return sample(logits, {
      ...round.sampling,
      positions,
      path: { tokens: tree.tokens, ...(tree.parents && !tree.chain ? { parents: tree.parents } : {}) },
      greedy,
    });
  }
  const p = targetProbabilities(tree, logits, round);
  if (by === 'inverse') {
    const first = logits.graph.constant(new Uint32Array(logits.shape[0]!));
    return draw(p, round.noise.uniform(positions, first, 'target'));
  }
  const gumbel = round.noise.gumbel(positions, logits.shape[1]!, 'target');
  const scores = p.equal(0).select(-3e38, p.max(1e-38).log().add(gumbel));
  // A row without any probability was broken: it chooses nothing.
  return reduce(p, 'sum').equal(0).select(noToken, argmax(scores));
}
