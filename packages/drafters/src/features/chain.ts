import type { Round, TokenTree } from '@forerun/contracts';
import { concat, sample, type Tensor } from '@forerun/tensor';
import { type ChildChoice, Children } from './children.ts';

/**
 * A draft token of logits `[1, V]`, `step` tokens behind the anchor: with the target's settings and noise, so that both choose the same
 * wherever they agree closely enough.
 */
export function choose(round: Round, logits: Tensor, step: number): Tensor {
  return sample(logits, { ...round.sampling, positions: round.length.add(step) });
}

/** Chooses the tokens of a chain, one behind the other. */
export class ChainChoice {
  readonly #round: Round;
  /** Undefined for coupled drafts. */
  readonly #children: Children | undefined;
  #steps = 0;

  constructor(round: Round, choice: ChildChoice) {
    this.#round = round;
    this.#children = choice === 'coupled' ? undefined : new Children({ round, choice });
  }

  /** The next token `[1]` u32, from logits `[1, V]`. */
  next(logits: Tensor): Tensor {
    this.#steps++;
    if (!this.#children) return choose(this.#round, logits, this.#steps);
    return this.#children.of(logits, { depths: this.#steps, ranks: 1 }).reshape([1]);
  }

  /** The distribution `[1, V]` that the last token was drawn from; undefined where it was not drawn. */
  get drawnFrom(): Tensor | undefined {
    return this.#children?.drawnFrom;
  }

  /** What the drafts were drawn from, as the distribution of a tree, where they were drawn. */
  get distribution(): Pick<TokenTree, 'distribution'> {
    const rows = Array.from({ length: this.#round.width }, (_, row) => (row < this.#steps ? row : undefined));
    return this.#children?.distribution(rows) ?? {};
  }
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
