import type { Drafter } from '@forerun/contracts';
import type { FeatureHead } from '@forerun/mtp';
import { featureDrafter, type FeatureDrafterOptions } from '../features/feature-drafter.ts';

/**
 * Drafts with an EAGLE head of any version (Li et al. 2024 and 2025, arXiv:2401.15077, 2406.16858, 2503.01840): EAGLE-2's dynamic tree,
 * a tree of fixed form as in EAGLE-1, or a chain. Where the target verifies chains only, it is a chain unless a tree is asked for.
 *
 * @param head - From `eagleHead` of `@forerun/mtp`, made for the target.
 * @param options - Which tree; `dynamic` by default.
 * @throws ArgumentError for a tree that cannot be made; MismatchedPartsError when a conversation is to hold more tokens than the head was
 *   made for, and for a tree that was asked for and a target that verifies chains only.
 */
export function eagle(head: FeatureHead, options: FeatureDrafterOptions = {}): Drafter {
  return featureDrafter(head, options, 'dynamic');
}
