import { rmsNorm as normalise } from '@forerun/tensor';
import type { Weights } from '@forerun/checkpoints';
import type { Layer } from './layer.ts';

/**
 * `y = x / sqrt(mean(x²) + epsilon) · (w + offset)` over the last axis, reading `weight` `[width]`: `[…, width]` to `[…, width]`.
 *
 * @param options.offset - 1 where weights are stored less one; 0 by default.
 */
export function rmsNorm(w: Weights, width: number, epsilon: number, options: { readonly offset?: 0 | 1 } = {}): Layer {
  const weight = w.tensor('weight', [width]);
  return (x) => normalise(x, weight, { epsilon, ...options });
}
