import type { Drafter } from '@forerun/contracts';
import type { FeatureHead } from '@forerun/mtp';
import { featureChain, type FeatureChainOptions } from '../features/feature-chain.ts';

/**
 * Drafts with an EAGLE head of any version (Li et al. 2024 and 2025, arXiv:2401.15077, 2503.01840): a chain of `width - 1` tokens, made
 * with the target's settings and noise.
 *
 * @param head - From `eagleHead` of `@forerun/mtp`, made for the target.
 * @param options - `depth`: most tokens that are drafted in a round, however wide it is.
 * @throws ArgumentError for a depth that is not a whole number of at least 1; MismatchedPartsError when a conversation is to hold more
 *   tokens than the head was made for.
 */
export function eagle(head: FeatureHead, options: FeatureChainOptions = {}): Drafter {
  return featureChain(head, options);
}
