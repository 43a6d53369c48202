import type { Weights } from '@forerun/checkpoints';
import { linear, type SequenceLayer } from '@forerun/layers';
import { slice } from '@forerun/tensor';
import type { ConvolutionState } from './convolution-state.ts';

/**
 * A short convolution between two gates: `(B, C, x) = in_proj(h)`, `y = out_proj(C · conv(B · x))`, conv being causal, each channel alone
 * over the last k rows: `[M, D]` to `[M, D]`.
 *
 * @param shape - `[D, k]`.
 * @param options.index - Which of the model's convolutions this is, from 0.
 * @param options.bias - Whether the projections and the convolution have biases.
 */
export function shortConvolution(
  w: Weights,
  [D, k]: readonly [hidden: number, kernel: number],
  { index, bias }: { readonly index: number; readonly bias: boolean },
): SequenceLayer<ConvolutionState> {
  const inProj = linear(w.at('in_proj'), [3 * D, D], { bias });
  const weight = w.at('conv').tensor('weight', [D, 1, k], { format: 'f32' });
  const taps = { weight, bias: bias ? w.at('conv').tensor('bias', [D]) : undefined };
  const outProj = linear(w.at('out_proj'), [D, D], { bias });

  return (h, rows, state) => {
    const projected = inProj(h);
    const part = (place: number) => slice(projected, 1, [place * D, (place + 1) * D]);
    const [B, C, x] = [part(0), part(1), part(2)];
    return outProj(C.mul(state.convolve(index, B.mul(x), taps, rows)));
  };
}
