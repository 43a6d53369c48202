import type { Attention } from '@forerun/attention';
import type { Checkpoint } from '@forerun/checkpoints';
import type { FeatureHead } from '../feature-head.ts';
import type { HeadTarget } from '../target.ts';
import { eagle1Head } from './eagle-1.ts';
import { eagle3Head } from './eagle-3.ts';

/**
 * An EAGLE head of any version, told apart by its tensors: only EAGLE-3 normalises the features beside the embedding (`hidden_norm`).
 *
 * @throws what {@link eagle1Head} and {@link eagle3Head} throw.
 */
export function eagleHead(checkpoint: Checkpoint, target: HeadTarget, attention?: Attention): Promise<FeatureHead> {
  const third = ['midlayer', 'layers.0'].some((stem) => checkpoint.tensors.has(`${stem}.hidden_norm.weight`));
  return third ? eagle3Head(checkpoint, target, attention) : eagle1Head(checkpoint, target, attention);
}
