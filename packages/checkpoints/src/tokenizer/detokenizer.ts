import type { TokenDecoding } from './token-bytes.ts';

/** What a detokenizer needs to know of a vocabulary. */
export interface TokenTexts {
  readonly decoding: TokenDecoding;
  /** The token's text; undefined when it is to be left out. Throws for an id outside of the vocabulary. */
  token(id: number): { text: string; added: boolean } | undefined;
}

/**
 * Turns tokens into text as they arrive. Bytes of a character that is not complete yet are held back, so that no piece ends in a
 * broken character; `flush` gives what is left as U+FFFD. All pieces together are the text of all tokens.
 */
export class StreamingDetokenizer {
  readonly #texts: TokenTexts;
  #decoder = utf8();
  #first = true;
  #strip: number;

  constructor(texts: TokenTexts) {
    this.#texts = texts;
    this.#strip = texts.decoding.leadingSpaces;
  }

  /**
   * The text that `token` completes; empty while a character is incomplete, and for a special token that is left out.
   *
   * @throws TokenizerError for an id outside of the vocabulary.
   */
  push(token: number): string {
    const entry = this.#texts.token(token);
    if (!entry) return '';
    const bytes = this.#texts.decoding.bytes(entry, this.#first);
    this.#first = false;
    return this.#withoutLeadingSpaces(this.#decoder.decode(bytes, { stream: true }));
  }

  /** What is held back, as U+FFFD; the detokenizer then begins a new text. */
  flush(): string {
    const rest = this.#withoutLeadingSpaces(this.#decoder.decode());
    this.#decoder = utf8();
    this.#first = true;
    this.#strip = this.#texts.decoding.leadingSpaces;
    return rest;
  }

  #withoutLeadingSpaces(piece: string): string {
    let begin = 0;
    while (this.#strip > 0 && begin < piece.length) {
      if (piece[begin] === ' ') {
        begin++;
        this.#strip--;
      } else {
        this.#strip = 0;
      }
    }
    return piece.slice(begin);
  }
}

/** A byte order mark is text here, not a signature to swallow. */
function utf8(): TextDecoder {
  return new TextDecoder('utf-8', { ignoreBOM: true });
}
