import { TokenizerError } from '../errors.ts';
import type { ByteSource, ReadOptions } from '../sources/byte-source.ts';
import { readJsonObject } from '../sources/text.ts';
import { ChatTemplate, type ChatMessage, type RenderOptions } from './chat-template.ts';
import { readChatTemplate } from './read-chat-template.ts';
import { StreamingDetokenizer } from './detokenizer.ts';
import { createHubTokenizer, type HubTokenizer } from './hub-tokenizer.ts';
import { tokenDecoding, type TokenDecoding } from './token-bytes.ts';

const maxTokenizerBytes = 256 << 20;

/** Names that tokenizer_config.json gives to special tokens. */
export type SpecialRole = 'bos' | 'eos' | 'pad' | 'unk';

/** How tokens become text. */
export interface DecodeOptions {
  /** Leave special tokens out of the text. Default true. */
  readonly skipSpecialTokens?: boolean;
  /** Tokens that stand before, whose text is not wanted again: a space or a character that began there is continued correctly. */
  readonly after?: Iterable<number>;
}

/**
 * Reads tokenizer.json, tokenizer_config.json and the chat template of a checkpoint.
 *
 * @throws FileMissingError without tokenizer.json; TokenizerError when it cannot be used; ChatTemplateError when the template cannot.
 */
export async function loadTokenizer(source: ByteSource, options: ReadOptions = {}): Promise<Tokenizer> {
  const limits = { ...options, maxBytes: maxTokenizerBytes };
  const tokenizerJson = await readJsonObject(source, 'tokenizer.json', limits);
  const configFile = 'tokenizer_config.json';
  const config = (await source.exists(configFile, options)) ? await readJsonObject(source, configFile, limits) : {};
  const chatTemplate = await readChatTemplate(source, config, options);
  return new Tokenizer({ tokenizerJson, config, chatTemplate });
}

/**
 * Text to tokens and back, and conversations to prompts.
 *
 * Encoding is `@huggingface/tokenizers`. Decoding gives the bytes that the tokens stand for, without the "clean up" that moves
 * spaces before punctuation, so that streamed and whole text are the same.
 */
export class Tokenizer {
  /** One more than the highest token id. A model's `vocab_size` may be larger: padding that stands for nothing. */
  readonly vocabSize: number;
  /** Ids of the special tokens that tokenizer_config.json names. */
  readonly special: Readonly<Partial<Record<SpecialRole, number>>>;
  /** The checkpoint's chat template, if it has one. */
  readonly chatTemplate: ChatTemplate | undefined;
  readonly #encoder: HubTokenizer;
  readonly #decoding: TokenDecoding;
  readonly #added: ReadonlyMap<number, { text: string; special: boolean }>;
  readonly #specialTexts: Readonly<Record<string, string>>;
  /** Bytes that no token of a byte-level vocabulary can express; the library would leave them out without a word. */
  readonly #inexpressible: ReadonlySet<number>;

  constructor(parts: {
    tokenizerJson: Record<string, unknown>;
    config: Record<string, unknown>;
    chatTemplate?: ChatTemplate | undefined;
  }) {
    const { tokenizerJson, config } = parts;
    try {
      this.#encoder = createHubTokenizer(tokenizerJson, config);
      this.vocabSize = highestId(this.#encoder) + 1;
    } catch (cause) {
      throw new TokenizerError(
        `tokenizer.json cannot be used: ${(cause as Error).message}. Expected a file written by the tokenizers library.`,
        { cause },
      );
    }
    this.#decoding = tokenDecoding(tokenizerJson['decoder']);
    this.#added = addedTokens(this.#encoder);
    this.#specialTexts = specialTexts(config);
    this.special = this.#specialIds();
    this.#inexpressible = new Set(
      [...(this.#decoding.byteLetters ?? [])].flatMap(([letter, byte]) =>
        this.#encoder.token_to_id(letter) === undefined ? [byte] : [],
      ),
    );
    this.chatTemplate = parts.chatTemplate;
  }

  /**
   * Tokens of a text.
   *
   * @param options.addSpecialTokens - Add what the model expects around a text, such as a beginning token. Default true; false for
   *   a prompt made by a chat template, which holds them already.
   * @throws TokenizerError when a character has no token and there is none for unknown ones.
   */
  encode(text: string, options: { addSpecialTokens?: boolean } = {}): number[] {
    if (typeof text !== 'string') throw new TokenizerError(`Expected a string to encode, got ${typeof text}.`);
    const inexpressible = this.#inexpressible;
    if (inexpressible.size > 0 && new TextEncoder().encode(text).some((byte) => inexpressible.has(byte))) {
      throw new TokenizerError(
        'The text has a character that the vocabulary cannot express: its alphabet of bytes has gaps.',
      );
    }
    let ids: readonly unknown[];
    try {
      ids = this.#encoder.encode(text, { add_special_tokens: options.addSpecialTokens ?? true }).ids;
    } catch (cause) {
      throw new TokenizerError(`The text could not be encoded: ${(cause as Error).message}.`, { cause });
    }
    return ids.map((id) => {
      if (typeof id === 'number' && Number.isInteger(id)) return id;
      throw new TokenizerError(
        'The text has a character that the vocabulary cannot express, and it has no token for unknown ones.',
      );
    });
  }

  /** Text of tokens; incomplete or invalid UTF-8 becomes U+FFFD. */
  decode(tokens: Iterable<number>, options: DecodeOptions = {}): string {
    const detokenizer = this.detokenizer(options);
    let text = '';
    for (const token of tokens) text += detokenizer.push(token);
    return text + detokenizer.flush();
  }

  /** A detokenizer for tokens that arrive one by one. */
  detokenizer(options: DecodeOptions = {}): StreamingDetokenizer {
    const skip = options.skipSpecialTokens ?? true;
    const detokenizer = new StreamingDetokenizer({
      decoding: this.#decoding,
      token: (id) => {
        const added = this.#added.get(id);
        if (added?.special && skip) return undefined;
        return { text: this.tokenText(id), added: added !== undefined };
      },
    });
    for (const token of options.after ?? []) detokenizer.push(token);
    return detokenizer;
  }

  /**
   * A token as the vocabulary writes it, such as `Ġworld`.
   *
   * @throws TokenizerError for an id outside of the vocabulary.
   */
  tokenText(id: number): string {
    const text = this.#added.get(id)?.text ?? this.#encoder.id_to_token(id);
    if (text !== undefined) return text;
    throw new TokenizerError(
      `Token ${id} is not in the vocabulary of ${this.vocabSize} tokens. The model and the tokenizer do not fit.`,
    );
  }

  /** The id of a token as the vocabulary writes it; undefined when there is none. */
  tokenId(text: string): number | undefined {
    return this.#encoder.token_to_id(text);
  }

  /** Whether a token is special: an instruction to the model rather than text. */
  isSpecial(id: number): boolean {
    return this.#added.get(id)?.special ?? false;
  }

  /** The bytes of text that a token stands for within a text. */
  tokenBytes(id: number): Uint8Array {
    return this.#decoding.bytes({ text: this.tokenText(id), added: this.#added.has(id) }, false);
  }

  /**
   * The prompt text of a conversation, by the checkpoint's chat template.
   *
   * @throws ChatTemplateError when the checkpoint has no template, or it fails or refuses the messages.
   */
  applyChatTemplate(messages: readonly ChatMessage[], options: RenderOptions = {}): string {
    const template = this.chatTemplate ?? ChatTemplate.missing();
    return template.render(messages, { ...options, variables: { ...this.#specialTexts, ...options.variables } });
  }

  #specialIds(): Partial<Record<SpecialRole, number>> {
    const roles = ['bos', 'eos', 'pad', 'unk'] as const;
    return Object.fromEntries(
      roles.flatMap((role) => {
        const text = this.#specialTexts[`${role}_token`];
        const id = text === undefined ? undefined : this.#encoder.token_to_id(text);
        return id === undefined ? [] : [[role, id]];
      }),
    );
  }
}

function addedTokens(encoder: HubTokenizer): ReadonlyMap<number, { text: string; special: boolean }> {
  const tokens = [...encoder.get_added_tokens_decoder()];
  return new Map(tokens.map(([id, token]) => [id, { text: token.content, special: token.special }]));
}

function highestId(encoder: HubTokenizer): number {
  let highest = -1;
  for (const id of encoder.get_vocab().values()) highest = Math.max(highest, id);
  return highest;
}

/** `bos_token` and its like: a string, or an object with the string as `content`. */
function specialTexts(config: Record<string, unknown>): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [key, value] of Object.entries(config)) {
    if (!key.endsWith('_token')) continue;
    const text = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
    if (typeof text === 'string') texts[key] = text;
  }
  return texts;
}
