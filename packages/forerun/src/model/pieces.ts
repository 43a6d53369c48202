import type { StreamingDetokenizer, Tokenizer } from '@forerun/checkpoints';
import type { GenerationStep, RoundReport } from '@forerun/decoding';
import type { GenerationPiece, PieceRound } from './generation.ts';

/** Tokens before a text that decide how its first character is written. */
const contextTokens = 16;

/** A detokenizer that goes on where `before` ends; ids that the vocabulary does not have are passed over. */
export function detokenizerAfter(tokenizer: Tokenizer, before: readonly number[]): StreamingDetokenizer {
  const known = before
    .slice(-contextTokens)
    .filter((id) => Number.isInteger(id) && id >= 0 && id < tokenizer.vocabSize);
  return tokenizer.detokenizer({ after: known });
}

/** Turns rounds into pieces that say of each token where it came from. */
export class Pieces {
  readonly #tokenizer: Tokenizer | undefined;
  readonly #detokenizer: StreamingDetokenizer | undefined;
  #last: number;

  constructor(tokenizer: Tokenizer | undefined, prompt: readonly number[]) {
    this.#tokenizer = tokenizer;
    this.#detokenizer = tokenizer && detokenizerAfter(tokenizer, prompt);
    this.#last = prompt.at(-1)!;
  }

  /** The next round's piece. */
  of(step: GenerationStep): GenerationPiece {
    const anchor = this.#last;
    const accepted = step.tokens.slice(0, step.accepted);
    const tokens = step.tokens.map((id, index) => ({
      id,
      text: this.#detokenizer?.push(id) ?? '',
      origin: index < accepted.length ? ('draft' as const) : ('model' as const),
    }));
    this.#last = step.tokens.at(-1) ?? anchor;
    return {
      text: step.text,
      tokens,
      rejected: this.#rejected(step, accepted, anchor),
      width: step.width,
      ...(step.round ? { round: this.#round(step.round) } : {}),
    };
  }

  #round({ nodes, next, ...rest }: RoundReport): PieceRound {
    const after = (id: number, row: number | undefined): string => this.#text(id, nodes[row ?? -1]?.token);
    return {
      ...rest,
      nodes: nodes.map((node) => ({ ...node, text: after(node.token, node.parent) })),
      next: { id: next, text: after(next, rest.path.at(-1)) },
    };
  }

  /** Guesses that are not on the kept path. What was accepted behind the end of the text is neither kept nor rejected. */
  #rejected(step: GenerationStep, accepted: readonly number[], anchor: number): GenerationPiece['rejected'] {
    const left = [...step.drafts];
    for (const token of accepted) left.splice(left.indexOf(token), 1);
    const unused = step.accepted - accepted.length;
    const before = accepted.at(-1) ?? anchor;
    return left.slice(unused).map((id) => ({ id, text: this.#text(id, before) }));
  }

  /** A guess's text as it would have followed `before`; ids outside of the vocabulary have none. */
  #text(id: number, before: number | undefined): string {
    if (!this.#tokenizer || id >= this.#tokenizer.vocabSize) return '';
    const after = before === undefined || before >= this.#tokenizer.vocabSize ? [] : [before];
    return this.#tokenizer.decode([id], { after, skipSpecialTokens: false });
  }
}
