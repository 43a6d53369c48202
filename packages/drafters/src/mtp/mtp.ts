import type { Drafter } from '@forerun/contracts';
import type { FeatureHead } from '@forerun/mtp';
import { featureDrafter, type FeatureDrafterOptions } from '../features/feature-drafter.ts';

/**
 * Drafts with the multi-token prediction module of a model's own checkpoint (arXiv:2412.19437, section 2.2), its first layer used again and
 * again on its own output: a chain of `width - 1` tokens made with the target's settings and noise, or a tree as EAGLE's.
 *
 * @param head - From `mtpHead` of `@forerun/mtp`, made for the target.
 * @param options - Which tree; `chain` by default, as the modules are published.
 * @throws ArgumentError for a tree that cannot be made; MismatchedPartsError when a conversation is to hold more tokens than the module was
 *   made for, and for a tree and a target that verifies chains only.
 */
export function mtp(head: FeatureHead, options: FeatureDrafterOptions = {}): Drafter {
  return featureDrafter(head, options, 'chain');
}
