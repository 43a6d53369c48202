import type { Drafter } from '@forerun/contracts';
import type { FeatureHead } from '@forerun/mtp';
import { featureChain, type FeatureChainOptions } from '../features/feature-chain.ts';

/**
 * Drafts with the multi-token prediction module of a model's own checkpoint (arXiv:2412.19437, section 2.2): a chain of `width - 1`
 * tokens from its first layer, used again and again on its own output, made with the target's settings and noise.
 *
 * @param head - From `mtpHead` of `@forerun/mtp`, made for the target.
 * @param options - `depth`: most tokens that are drafted in a round, however wide it is.
 * @throws ArgumentError for a depth that is not a whole number of at least 1; MismatchedPartsError when a conversation is to hold more
 *   tokens than the module was made for.
 */
export function mtp(head: FeatureHead, options: FeatureChainOptions = {}): Drafter {
  return featureChain(head, options);
}
