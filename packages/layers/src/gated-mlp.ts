import type { Tensor } from '@forerun/tensor';
import type { Weights } from '@forerun/checkpoints';
import type { Layer } from './layer.ts';
import { linear } from './linear.ts';

/** Names of activations in configurations. */
export const activations = ['silu', 'swish', 'gelu', 'gelu_new', 'gelu_pytorch_tanh', 'relu'] as const;

/** One of {@link activations}. */
export type Activation = (typeof activations)[number];

const formulas: Readonly<Record<Activation, (x: Tensor) => Tensor>> = {
  silu: (x) => x.silu(),
  swish: (x) => x.silu(),
  gelu: (x) => x.gelu(),
  gelu_new: (x) => x.geluTanh(),
  gelu_pytorch_tanh: (x) => x.geluTanh(),
  relu: (x) => x.relu(),
};

/** The activation of a name. */
export function activate(x: Tensor, act: Activation): Tensor {
  return formulas[act](x);
}

/**
 * `y = down(act(gate(x)) · up(x))`: `[M, D]` to `[M, D]`, `F` wide inside. With silu this is SwiGLU (https://arxiv.org/abs/2002.05202).
 *
 * @param shape - `[D, F]`.
 * @param options.bias - Whether all three projections have biases.
 */
export function gatedMlp(
  w: Weights,
  [D, F]: readonly [hidden: number, inner: number],
  options: { act: Activation; bias?: boolean },
): Layer {
  const { act, bias = false } = options;
  const gateProj = linear(w.at('gate_proj'), [F, D], { bias });
  const upProj = linear(w.at('up_proj'), [F, D], { bias });
  const downProj = linear(w.at('down_proj'), [D, F], { bias });
  return gatedProduct({ gate: gateProj, up: upProj, down: downProj }, act);
}

/** `y = down(act(gate(x)) · up(x))` of three projections, where a checkpoint calls them by other names. */
export function gatedProduct(
  { gate, up, down }: Readonly<Record<'gate' | 'up' | 'down', Layer>>,
  act: Activation,
): Layer {
  return (x) => down(activate(gate(x), act).mul(up(x)));
}
