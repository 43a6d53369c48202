import type { Weights } from '@forerun/checkpoints';
import type { Tensor } from '@forerun/tensor';
import { linear, type RowLayer } from './layer.ts';

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

/** `y = down(act(gate(x)) · up(x))`: `[M, D]` to `[M, D]`, `F` wide inside. */
export function gatedMlp(w: Weights, [D, F]: readonly [hidden: number, inner: number], act: Activation): RowLayer {
  const gateProj = linear(w.at('gate_proj'), [F, D]);
  const upProj = linear(w.at('up_proj'), [F, D]);
  const downProj = linear(w.at('down_proj'), [D, F]);
  return (x) => downProj(activate(gateProj(x), act).mul(upProj(x)));
}
