import type { AttentionState } from '@forerun/attention';
import type { Weights } from '@forerun/checkpoints';
import type { Rows } from '@forerun/contracts';
import { linear as multiply, rmsNorm as normalise, type Tensor } from '@forerun/tensor';

/** A layer that looks at each row alone: `[M, …]` to `[M, …]`. */
export type RowLayer = (x: Tensor) => Tensor;

/** A layer that also looks at other rows through the cache of layer `layer` of `state`. */
export type SequenceLayer = (
  x: Tensor,
  rows: Rows,
  cache: { readonly state: AttentionState; readonly layer: number },
) => Tensor;

/** `y = x Wᵀ + b`: `[M, K]` to `[M, N]`; the bias is read where the checkpoint has one. */
export function linear(w: Weights, [N, K]: readonly [outputs: number, inputs: number]): RowLayer {
  const weight = w.tensor('weight', [N, K]);
  const bias = w.has('bias') ? w.tensor('bias', [N]) : undefined;
  return (x) => multiply(x, weight, bias);
}

/** `y = x / sqrt(mean(x²) + epsilon) · (w + offset)` over the last axis. */
export function rmsNorm(
  w: Weights,
  width: number,
  options: { readonly epsilon: number; readonly offset?: 0 | 1 },
): RowLayer {
  const weight = w.tensor('weight', [width]);
  return (x) => normalise(x, weight, options);
}
