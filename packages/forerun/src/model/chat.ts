import type { ChatMessage, RenderOptions } from '@forerun/checkpoints';
import { ChatTemplate } from '@forerun/checkpoints';
import { ConversationStateError } from '@forerun/contracts';
import type { Conversation } from '@forerun/decoding';
import { Generation } from './generation.ts';
import type { GenerateOptions, LoadedModel } from './loaded-model.ts';
import { generationRequest, produce } from './produce.ts';

/** How a conversation is held. Generation options are the defaults of every turn. */
export interface ChatOptions extends GenerateOptions {
  /** Turns that stand before the first, such as `{ role: 'system', content: '…' }`. */
  readonly messages?: readonly ChatMessage[];
  /** Makes the prompt text in place of the checkpoint's chat template. */
  readonly render?: (messages: readonly ChatMessage[]) => string;
  /** What the chat template is given besides the messages. */
  readonly template?: RenderOptions;
}

/** A conversation in turns. Each turn goes on from the cache of those before it. Close it when it is over. */
export class Chat {
  readonly #model: LoadedModel;
  readonly #options: Pick<ChatOptions, 'render' | 'template'>;
  readonly #defaults: GenerateOptions;
  readonly #conversation: Conversation;
  readonly #messages: ChatMessage[];
  #busy = false;

  constructor(model: LoadedModel, options: ChatOptions) {
    const { messages = [], render, template, ...defaults } = options;
    // A checkpoint without a template is found out before anything is opened.
    if (!render && !model.requireTokenizer().chatTemplate) ChatTemplate.missing();
    this.#model = model;
    this.#options = { ...(render ? { render } : {}), ...(template ? { template } : {}) };
    this.#defaults = defaults;
    this.#messages = [...messages];
    this.#conversation = model.open(defaults);
  }

  /** The turns so far; an answer is among them when it is over, or as far as it came when it was left early. */
  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  /**
   * Says something and generates the answer.
   *
   * Errors come when the answer is iterated or awaited; a turn that failed before its first token is as if it had not been.
   */
  send(content: string | ChatMessage, options: GenerateOptions = {}): Generation {
    const message: ChatMessage = typeof content === 'string' ? { role: 'user', content } : content;
    const { source, soFar } = produce({
      begin: () => {
        if (this.#busy) {
          throw new ConversationStateError(
            'This conversation is answering; wait for the answer or stop it, then go on.',
          );
        }
        const prompt = this.#encode([...this.#messages, message]);
        const request = generationRequest(this.#model, prompt, { ...this.#defaults, ...options });
        this.#busy = true;
        this.#messages.push(message);
        return { conversation: this.#conversation, request };
      },
      end: (_, { text, failed }) => {
        this.#busy = false;
        if (failed && text === '') this.#messages.pop();
        else this.#messages.push({ role: 'assistant', content: text });
      },
      tokenizer: this.#model.tokenizer,
    });
    return new Generation(source, soFar);
  }

  /** Frees the conversation's memory. */
  close(): void {
    this.#conversation.close();
  }

  /** As {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #encode(messages: readonly ChatMessage[]): readonly number[] {
    const tokenizer = this.#model.requireTokenizer();
    const { render, template } = this.#options;
    if (render) return tokenizer.encode(render(messages));
    return tokenizer.encode(tokenizer.applyChatTemplate(messages, template), { addSpecialTokens: false });
  }
}
