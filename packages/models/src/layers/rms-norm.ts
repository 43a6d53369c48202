import { rmsNorm as normalise } from '@forerun/tensor';
import type { Weights } from '@forerun/checkpoints';
import type { Layer } from './layer.ts';

/** `y = x / sqrt(mean(x²) + epsilon) · w` over the last axis, reading `weight` `[width]`: `[…, width]` to `[…, width]`. */
export function rmsNorm(w: Weights, width: number, epsilon: number): Layer {
  const weight = w.tensor('weight', [width]);
  return (x) => normalise(x, weight, { epsilon });
}
