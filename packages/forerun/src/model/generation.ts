import type { GenerationStatistics, RoundReport, TreeNode } from '@forerun/decoding';

/** A token with its text. */
export interface PieceToken {
  readonly id: number;
  /** The text that it completes; empty where its character goes on, for special tokens, and without a tokenizer. */
  readonly text: string;
  /** Whether it was guessed by a drafter and accepted, or chosen by the model itself. */
  readonly origin: 'draft' | 'model';
}

/** A node of the tree that a round verified. */
export interface PieceNode extends TreeNode {
  /** Its text as it follows its parent; empty without a tokenizer. */
  readonly text: string;
}

/** The round behind a piece, with the texts of its tokens. */
export interface PieceRound extends Omit<RoundReport, 'nodes' | 'next'> {
  readonly nodes: readonly PieceNode[];
  /** The token that the target chose behind the accepted path. */
  readonly next: Omit<PieceToken, 'origin'>;
}

/** What one round gave. */
export interface GenerationPiece {
  /** Text that became certain: no broken character, no part of a stop string. */
  readonly text: string;
  /** Tokens that were kept. */
  readonly tokens: readonly PieceToken[];
  /** Guesses that were not. */
  readonly rejected: readonly Omit<PieceToken, 'origin'>[];
  /** Rows of the round: 1 is a step of plain decoding. */
  readonly width: number;
  /** The round itself, where `rounds` was asked for. */
  readonly round?: PieceRound;
}

/** A text that is complete. */
export interface GenerationResult {
  readonly text: string;
  /** Generated tokens; a stop token is the last of them, a stop string is not among them. */
  readonly tokens: readonly number[];
  /** The seed that the sample was drawn with. */
  readonly seed: bigint | number;
  /** Name of who guessed; `none` for plain decoding. */
  readonly drafter: string;
  readonly statistics: GenerationStatistics;
}

/**
 * A text on its way. Nothing is computed until it is iterated or a result is asked for, and each iteration begins at the first
 * piece. Leaving a loop early ends the text there; `result` then tells of what was given.
 */
export class Generation implements AsyncIterable<GenerationPiece> {
  readonly #source: AsyncGenerator<GenerationPiece, GenerationResult, void>;
  readonly #pieces: GenerationPiece[] = [];
  readonly #soFar: () => GenerationResult;
  #pulling: Promise<boolean> | undefined;
  #ended = false;
  #failure: unknown;
  #result: GenerationResult | undefined;

  /**
   * @param source - Makes the pieces, and returns the result.
   * @param soFar - The result as it is when the source is left early.
   */
  constructor(source: AsyncGenerator<GenerationPiece, GenerationResult, void>, soFar: () => GenerationResult) {
    this.#source = source;
    this.#soFar = soFar;
  }

  /** The whole text. */
  get text(): Promise<string> {
    return this.result.then(({ text }) => text);
  }

  /** Runs to the end. Fails with what ended the text, if that was an error or an abort. */
  get result(): Promise<GenerationResult> {
    return this.#finish();
  }

  /** The pieces from the first on, as they come. */
  [Symbol.asyncIterator](): AsyncIterator<GenerationPiece, void> {
    let at = 0;
    return {
      next: async () => {
        while (at >= this.#pieces.length) if (!(await this.#pull())) return { done: true, value: undefined };
        return { done: false, value: this.#pieces[at++]! };
      },
      return: async () => {
        await this.stop();
        return { done: true, value: undefined };
      },
    };
  }

  /** Ends the text after the piece given last. Nothing happens if it has ended. */
  async stop(): Promise<void> {
    await this.#pulling?.catch(() => undefined);
    if (this.#ended) return;
    this.#ended = true;
    await this.#source.return(undefined as never);
    this.#result = this.#soFar();
  }

  async #finish(): Promise<GenerationResult> {
    while (await this.#pull());
    return this.#result!;
  }

  /** Brings the next piece; false at the end. Callers that come while one is on its way wait for the same. */
  async #pull(): Promise<boolean> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#ended) return false;
    this.#pulling ??= this.#advance().finally(() => (this.#pulling = undefined));
    return this.#pulling;
  }

  async #advance(): Promise<boolean> {
    try {
      const next = await this.#source.next();
      if (next.done) {
        this.#ended = true;
        this.#result = next.value;
        return false;
      }
      this.#pieces.push(next.value);
      return true;
    } catch (cause) {
      this.#ended = true;
      this.#failure = cause;
      throw cause;
    }
  }
}
