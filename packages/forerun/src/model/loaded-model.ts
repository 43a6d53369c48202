import type { ChatMessage, Tokenizer } from '@forerun/checkpoints';
import { TokenizerError } from '@forerun/checkpoints';
import type { Drafter, Verifier } from '@forerun/contracts';
import { ConversationStateError } from '@forerun/contracts';
import type { Conversation, Engine, GenerateRequest, MemoryEstimate, SamplingSettings } from '@forerun/decoding';
import type { DecoderConfig, GenerationConfig } from '@forerun/models';
import type { AdapterDescription } from '@forerun/tensor';
import { ArgumentError } from '@forerun/tensor';
import type { ChatOptions } from './chat.ts';
import { Chat } from './chat.ts';
import type { DrafterChoice, DrafterName, HeadName } from './drafter-choice.ts';
import { DrafterChoices } from './drafter-choice.ts';
import { Generation } from './generation.ts';
import { generationRequest, produce } from './produce.ts';

/** Text, token ids, or the turns of a conversation for the checkpoint's chat template. */
export type Prompt = string | readonly number[] | readonly ChatMessage[];

/** What to generate, and how; what is left open follows the checkpoint's generation_config.json. */
export interface GenerateOptions extends Pick<
  GenerateRequest,
  'maxTokens' | 'stopTokens' | 'stopStrings' | 'width' | 'widths' | 'rounds' | 'signal'
> {
  /** Temperature, filters, penalties and seed. Without a seed one is drawn, and told in the result. */
  readonly sampling?: Partial<SamplingSettings>;
  /** Who guesses. Default: heads or a draft model that were loaded, heads in the checkpoint, else look-up in the text so far. The text is the same with all. */
  readonly drafter?: DrafterChoice;
  /** Decides what is kept of the guesses; exact sample-and-match by default. */
  readonly verifier?: Verifier;
}

/** What a loaded model is made of. */
export interface LoadedModelParts {
  readonly engine: Engine;
  readonly config: DecoderConfig;
  readonly generation: GenerationConfig;
  readonly tokenizer: Tokenizer | undefined;
  readonly draftModel: Drafter | undefined;
  /** Heads that were loaded with it, by kind. */
  readonly heads?: ReadonlyMap<HeadName, Drafter> | undefined;
  /** Heads in its own checkpoint, by kind. */
  readonly ownHeads?: ReadonlyMap<HeadName, Drafter> | undefined;
  readonly name: string;
  readonly ownsDevice: boolean;
}

/** A model that is ready to generate. Made by `load`; close it when it is over. */
export class LoadedModel {
  /** Where it came from. */
  readonly name: string;
  readonly config: DecoderConfig;
  /** End tokens and sampling defaults of the checkpoint. */
  readonly generation: GenerationConfig;
  /** Undefined for a checkpoint without tokenizer.json: prompts are then token ids. */
  readonly tokenizer: Tokenizer | undefined;
  /** The draft model that was loaded with it. */
  readonly draftModel: Drafter | undefined;
  /** The loops and programs beneath. */
  readonly engine: Engine;
  readonly #drafters: DrafterChoices;
  readonly #ownsDevice: boolean;
  #closed = false;

  constructor(parts: LoadedModelParts) {
    this.name = parts.name;
    this.config = parts.config;
    this.generation = parts.generation;
    this.tokenizer = parts.tokenizer;
    this.engine = parts.engine;
    this.draftModel = parts.draftModel;
    this.#drafters = new DrafterChoices({ ...parts, decoder: parts.engine.decoder });
    this.#ownsDevice = parts.ownsDevice;
  }

  /** What computes: a GPU, or a processor that stands in for one. */
  get adapter(): AdapterDescription {
    return this.engine.device.adapter;
  }

  /** Device bytes of the weights, one conversation and scratch. */
  get memory(): MemoryEstimate {
    return this.engine.memory;
  }

  /** Who guesses when `generate` is not told. */
  get defaultDrafter(): DrafterChoice {
    return this.#drafters.default;
  }

  /** Names of the drafters that this model can be used with: plain decoding first, then all that need nothing, or for which it has the weights. */
  get drafters(): readonly DrafterName[] {
    return this.#drafters.names;
  }

  /**
   * The drafter behind a name, always the same one; undefined for plain decoding.
   * @throws {@link ArgumentError} for an unknown name; {@link MismatchedPartsError} for one that this model cannot be used with.
   */
  drafter(choice: DrafterChoice): Drafter | undefined {
    return this.#drafters.resolve(choice);
  }

  /**
   * Generates text after a prompt. Each call begins afresh, so that a seed gives the same text whatever ran before.
   *
   * Errors come when the text is iterated or its result awaited: {@link ArgumentError}, {@link CapacityError}, TokenizerError,
   * ChatTemplateError, {@link MismatchedPartsError}, {@link AbortedError}, {@link NumericError}, {@link DeviceLostError}.
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    const { source, soFar } = produce({
      begin: () => {
        const request = generationRequest(this, this.encode(prompt), options);
        return { request, conversation: this.open(options) };
      },
      end: (conversation) => conversation.close(),
      tokenizer: this.tokenizer,
    });
    return new Generation(source, soFar);
  }

  /**
   * Begins a conversation that goes on from its cache: each turn computes only what is new.
   *
   * @throws ChatTemplateError when the checkpoint has no chat template and `options.render` is not given.
   */
  chat(options: ChatOptions = {}): Chat {
    return new Chat(this, options);
  }

  /**
   * Opens a conversation on tokens, a level below {@link generate}: its requests are complete, and nothing is taken from the
   * checkpoint's generation_config.json.
   *
   * @throws {@link ArgumentError} for an unknown drafter; {@link MismatchedPartsError} for parts that do not fit; {@link ConversationStateError}
   *   when the model was closed; {@link OutOfMemoryError}.
   */
  open(options: { readonly drafter?: DrafterChoice; readonly verifier?: Verifier } = {}): Conversation {
    this.#checkOpen();
    const drafter = this.#drafters.resolve(options.drafter ?? this.#drafters.default);
    return this.engine.open({
      ...(drafter ? { drafter } : {}),
      ...(options.verifier ? { verifier: options.verifier } : {}),
    });
  }

  /**
   * Tokens of a prompt.
   * @throws TokenizerError without a tokenizer or for text that it cannot express; ChatTemplateError.
   */
  encode(prompt: Prompt): readonly number[] {
    if (typeof prompt === 'string') return this.requireTokenizer().encode(prompt);
    if (!Array.isArray(prompt)) {
      throw new ArgumentError(`Expected a prompt as text, token ids or messages, got ${typeof prompt}.`);
    }
    if (prompt.every((item) => typeof item === 'number')) return prompt;
    if (prompt.some((item) => typeof item !== 'object' || item === null || !('role' in item))) {
      throw new ArgumentError('Expected a list of token ids, or of messages such as { role: "user", content: "…" }.');
    }
    const tokenizer = this.requireTokenizer();
    return tokenizer.encode(tokenizer.applyChatTemplate(prompt as readonly ChatMessage[]), { addSpecialTokens: false });
  }

  /**
   * The tokenizer, where one is needed.
   * @throws TokenizerError when the checkpoint has none.
   */
  requireTokenizer(): Tokenizer {
    if (this.tokenizer) return this.tokenizer;
    throw new TokenizerError(
      `${this.name} has no tokenizer.json, so text cannot be turned into tokens. Give token ids, or add the file to the checkpoint.`,
    );
  }

  /** Frees programs and weights, and the device if it was asked for by `load`. Conversations on it are over. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.engine.destroy();
    if (this.#ownsDevice) this.engine.device.destroy();
  }

  /** As {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    if (this.#closed) throw new ConversationStateError('This model was closed; load it again.');
  }
}
