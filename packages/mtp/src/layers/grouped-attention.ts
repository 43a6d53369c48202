import type { AttentionState } from '@forerun/attention';
import type { Weights } from '@forerun/checkpoints';
import { rmsNorm, rotary, type SequenceLayer } from '@forerun/layers';
import { slice, type Tensor } from '@forerun/tensor';
import type { LayerShape } from './layer-shape.ts';
import { linear } from './stored-biases.ts';

/** Where it stands, and what differs between families. */
export interface GroupedAttentionOptions {
  /** Which layer of the state is its own. */
  readonly layer: number;
  /** Width of what queries, keys and values are made from; D by default. */
  readonly inputs?: number;
  /** What norms of heads add to their weights, where there are norms. */
  readonly normOffset?: 0 | 1;
  /** Whether `q_proj` gives each head a gate behind its query, whose sigmoid multiplies what the head saw (Qwen3-Next). */
  readonly gated?: boolean;
}

/**
 * Attention with grouped queries and rotary positions: `[M, inputs]` to `[M, D]`. Biases and norms of query and key heads are read where
 * the checkpoint has them.
 */
export function groupedAttention(
  w: Weights,
  shape: LayerShape,
  options: GroupedAttentionOptions,
): SequenceLayer<AttentionState> {
  const { hiddenSize: D, numAttentionHeads: H, numKeyValueHeads: K, headDim: E, rmsNormEps: epsilon } = shape;
  const { layer, inputs = D, normOffset = 0, gated = false } = options;
  const queryWidth = gated ? 2 * E : E;
  const qProj = linear(w.at('q_proj'), [H * queryWidth, inputs]);
  const kProj = linear(w.at('k_proj'), [K * E, inputs]);
  const vProj = linear(w.at('v_proj'), [K * E, inputs]);
  const oProj = linear(w.at('o_proj'), [D, H * E]);
  const headNorm = (name: string) =>
    w.has(name) ? rmsNorm(w.at(name), E, epsilon, { offset: normOffset }) : (x: Tensor) => x;
  const qNorm = headNorm('q_norm');
  const kNorm = headNorm('k_norm');
  const turn = rotary(shape.rope);

  return (x, rows, state) => {
    const M = x.shape[0]!;
    const queries = qProj(x).reshape([M, H, queryWidth]);
    const q = turn(qNorm(gated ? slice(queries, 2, [0, E]) : queries), rows);
    const k = turn(kNorm(kProj(x).reshape([M, K, E])), rows);
    const v = vProj(x).reshape([M, K, E]);
    const seen = state.attend(layer, { q, k, v }, rows);
    const out = gated ? seen.mul(slice(queries, 2, [E, 2 * E]).sigmoid()) : seen;
    return oProj(out.reshape([M, H * E]));
  };
}
