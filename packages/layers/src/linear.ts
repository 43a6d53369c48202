import { linear as multiply } from '@forerun/tensor';
import type { Weights } from '@forerun/checkpoints';
import type { Layer } from './layer.ts';

/**
 * `y = x Wᵀ + b`: `[M, K]` to `[M, N]`, reading `weight` `[N, K]` and, if asked for, `bias` `[N]`.
 *
 * @param shape - `[N, K]`: outputs and inputs.
 */
export function linear(
  w: Weights,
  shape: readonly [outputs: number, inputs: number],
  options: { bias?: boolean } = {},
): Layer {
  const weight = w.tensor('weight', shape);
  const bias = options.bias ? w.tensor('bias', [shape[0]]) : undefined;
  return (x) => multiply(x, weight, bias);
}
