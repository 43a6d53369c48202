import type { Purpose, Round, TokenTree } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { Tensor } from '@forerun/tensor';
import { samplingProbabilities } from '@forerun/tensor';

/**
 * `[M]` f32 uniforms of a round: number i belongs to the round's i-th question of this purpose. They are keyed by the anchor's position,
 * which no two rounds of a conversation share: what a round learned of a position behind the accepted path must not bias the next.
 */
export function roundUniforms(round: Round, count: number, purpose: Purpose): Tensor {
  const { graph } = round.length;
  const positions = graph.constant(new Uint32Array(count)).add(round.length);
  const index = graph.constant(Uint32Array.from({ length: count }, (_, i) => i));
  return round.noise.uniform(positions, index, purpose);
}

/** `[M, V]` f32: the target's distribution at each row of a tree, settings and the row's own path taken into account. */
export function targetProbabilities(
  tree: Pick<TokenTree, 'tokens' | 'parents' | 'chain'>,
  logits: Tensor,
  { sampling }: Pick<Round, 'sampling'>,
): Tensor {
  const parents = tree.parents && !tree.chain ? { parents: tree.parents } : {};
  return samplingProbabilities(logits, { ...sampling, path: { tokens: tree.tokens, ...parents } });
}

/** The draft's distribution of a tree. Plain decoding's tree of one row has none and needs none. */
export function draftProbabilities(verifier: string, tree: TokenTree): Tensor | undefined {
  if (tree.width > 1 && !tree.distribution) {
    throw new MismatchedPartsError(
      `${verifier} needs the distribution that drafts were drawn from: expected a tree with one, got none. ` +
        'Use a drafter that gives it, or sampleAndMatch(), which needs none.',
    );
  }
  return tree.width > 1 ? tree.distribution : undefined;
}
