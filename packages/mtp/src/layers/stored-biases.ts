/** Layers of `@forerun/layers` with the biases that a checkpoint has: configurations of heads do not name them. */
import type { Weights } from '@forerun/checkpoints';
import { type Activation, gatedMlp as gated, type Layer, linear as biased } from '@forerun/layers';

/** `y = x Wᵀ + b`: `[M, K]` to `[M, N]`. */
export function linear(w: Weights, shape: readonly [outputs: number, inputs: number]): Layer {
  return biased(w, shape, { bias: w.has('bias') });
}

/** `y = down(act(gate(x)) · up(x))`: `[M, D]` to `[M, D]`, `F` wide inside. */
export function gatedMlp(w: Weights, shape: readonly [hidden: number, inner: number], act: Activation): Layer {
  return gated(w, shape, { act, bias: w.at('gate_proj').has('bias') });
}
