import type { Checkpoint } from '@forerun/checkpoints';
import type { Decoder } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';

/** What heads use of the model that they guess for: its sizes, its embedding and its output head. A `Decoder` is one. */
export type HeadTarget = Pick<Decoder, 'vocabSize' | 'hiddenSize' | 'layerCount' | 'embed' | 'head'>;

/**
 * Refuses heads that were made for another target.
 *
 * @throws MismatchedPartsError with both numbers.
 */
export function expectFit(what: string, quantity: string, numbers: readonly [own: number, target: number]): void {
  const [own, target] = numbers;
  if (own === target) return;
  throw new MismatchedPartsError(
    `${what}: made for a target with ${quantity} ${own}, this target has ${target}. Load the heads that belong to it.`,
  );
}

/** Sizes of a stored tensor; undefined where there is none of that name and rank. */
export function storedShape(checkpoint: Checkpoint, name: string, rank = 2): readonly number[] | undefined {
  const shape = checkpoint.tensors.get(name)?.shape;
  return shape?.length === rank ? shape : undefined;
}
