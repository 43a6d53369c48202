import type { Round, TokenTree } from '@forerun/contracts';
import { concat, sample, type Tensor } from '@forerun/tensor';

/**
 * A draft token of logits `[1, V]`, `step` tokens behind the anchor: with the target's settings and noise, so that both choose the same
 * wherever they agree closely enough.
 */
export function choose(round: Round, logits: Tensor, step: number): Tensor {
  return sample(logits, { ...round.sampling, positions: round.length.add(step) });
}

/** A chain of drafts (u32, one behind the other) behind the anchor; only the anchor is in use unless `ready` (`[1]` u32). */
export function chain(round: Round, drafts: readonly Tensor[], ready: Tensor): TokenTree {
  const { width, anchor } = round;
  const count = drafts.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const unused = width - 1 - count;
  const rest = unused > 0 ? [anchor.graph.constant(new Uint32Array(unused))] : [];
  return {
    width,
    depth: width - 1,
    chain: true,
    tokens: concat([anchor, ...drafts, ...rest], 0),
    count: ready.mul(count).add(1),
  };
}
