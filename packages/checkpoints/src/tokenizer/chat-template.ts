import { ChatTemplateError } from '../errors.ts';
import { formatTime } from './format-time.ts';
import {
  Interpreter,
  createEnvironment,
  parseTemplate,
  type JinjaEnvironment,
  type JinjaProgram,
  type JinjaValue,
} from './jinja.ts';

/** One turn of a conversation. Templates may know further fields, such as `tool_calls`. */
export interface ChatMessage {
  readonly role: string;
  /** Text, or parts such as `{ type: 'text', text: '…' }` for templates that take them. */
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

/** What a template may be given besides the messages. */
export interface RenderOptions {
  /** End the prompt where the assistant's turn begins. Default true. */
  readonly addGenerationPrompt?: boolean;
  /** Functions that the model may call, as JSON schemas. */
  readonly tools?: readonly unknown[];
  /** Texts that the answer should draw on. */
  readonly documents?: readonly unknown[];
  /** Which template, where the checkpoint has several. Default `default`, or `tool_use` when there are tools and one of that name. */
  readonly template?: string;
  /** Further variables, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
  /** What the template takes as the present time. Default: now. */
  readonly now?: Date;
}

const maxTemplateLetters = 1 << 20;
const maxSpaceRun = 4096;
const maxOutputLetters = 16 << 20;
const maxListItems = 1 << 20;
const maxSteps = 2_000_000;
const maxRenderMs = 10_000;

/**
 * A checkpoint's chat template (Jinja), one or several by name. Templates come with the checkpoint and are not trusted: work, time and
 * size of what they make are limited.
 */
export class ChatTemplate {
  readonly #templates: ReadonlyMap<string, string>;
  readonly #parsed = new Map<string, JinjaProgram>();

  /** @param templates - Template text by name; a single one is named `default`. */
  constructor(templates: ReadonlyMap<string, string>) {
    this.#templates = templates;
  }

  /** Fails as a checkpoint without template does. */
  static missing(): never {
    throw new ChatTemplateError(
      'The checkpoint has no chat template (tokenizer_config.json or chat_template.jinja). Use an instruction-tuned checkpoint, or plain text prompts.',
    );
  }

  /** Names of the templates. */
  get names(): readonly string[] {
    return [...this.#templates.keys()];
  }

  /**
   * The prompt text of a conversation.
   *
   * @throws ChatTemplateError when the template is malformed, refuses the messages, or runs past its limits.
   */
  render(messages: readonly ChatMessage[], options: RenderOptions = {}): string {
    const name = this.#choose(options);
    const environment = createEnvironment();
    const variables: Record<string, unknown> = {
      ...options.variables,
      messages: [...messages],
      add_generation_prompt: options.addGenerationPrompt ?? true,
      ...(options.tools ? { tools: [...options.tools] } : {}),
      ...(options.documents ? { documents: [...options.documents] } : {}),
      ...globals(options.now ?? new Date()),
    };
    try {
      for (const [key, value] of Object.entries(variables)) environment.set(key, value);
      const result = new LimitedInterpreter(environment).run(this.#parse(name));
      return String(result.value);
    } catch (cause) {
      if (cause instanceof ChatTemplateError) throw cause;
      const why =
        cause instanceof RangeError ? 'it recurses too deeply or makes too much text' : (cause as Error).message;
      throw new ChatTemplateError(
        `The chat template "${name}" failed: ${why}. Check the messages' roles and contents.`,
        { cause },
      );
    }
  }

  #choose(options: RenderOptions): string {
    const wanted = options.template ?? (options.tools && this.#templates.has('tool_use') ? 'tool_use' : 'default');
    if (this.#templates.has(wanted)) return wanted;
    throw new ChatTemplateError(
      `There is no chat template "${wanted}"; there are: ${this.names.join(', ') || 'none'}.`,
    );
  }

  #parse(name: string): JinjaProgram {
    const known = this.#parsed.get(name);
    if (known) return known;
    const text = this.#templates.get(name)!;
    if (text.length > maxTemplateLetters) {
      throw new ChatTemplateError(
        `The chat template "${name}" has ${text.length} characters, at most ${maxTemplateLetters} are read.`,
      );
    }
    // The parser takes time quadratic in the length of a run of white space.
    if (new RegExp(`\\s{${maxSpaceRun}}`).test(text)) {
      throw new ChatTemplateError(`The chat template "${name}" has ${maxSpaceRun} or more spaces in a row.`);
    }
    const program = parseTemplate(text);
    this.#parsed.set(name, program);
    return program;
  }
}

/** Counts steps and watches sizes, since a template can loop or double a string without end. */
class LimitedInterpreter extends Interpreter {
  readonly #deadlineMs = performance.now() + maxRenderMs;
  #steps = 0;

  override evaluate(node: object | undefined, environment: JinjaEnvironment): JinjaValue {
    this.#steps++;
    if (this.#steps > maxSteps)
      throw new ChatTemplateError(`The chat template takes more than ${maxSteps} steps. It does not end.`);
    if (this.#steps % 1024 === 0 && performance.now() > this.#deadlineMs) {
      throw new ChatTemplateError(`The chat template takes more than ${maxRenderMs} ms. It does not end.`);
    }
    const result = super.evaluate(node, environment);
    const { value } = result;
    if (typeof value === 'string' && value.length > maxOutputLetters) {
      throw new ChatTemplateError(`The chat template makes a text of more than ${maxOutputLetters} characters.`);
    }
    if (Array.isArray(value) && value.length > maxListItems) {
      throw new ChatTemplateError(`The chat template makes a list of more than ${maxListItems} items.`);
    }
    return result;
  }
}

/** What every chat template may use. */
function globals(now: Date): Record<string, unknown> {
  return {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    raise_exception: (message: unknown) => {
      throw new ChatTemplateError(`The chat template refuses the conversation: ${String(message)}`);
    },
    range: limitedRange,
    strftime_now: (format: string) => formatTime(now, format),
  };
}

/** Python's `range`, but never longer than a list may be. */
function limitedRange(first: number, second?: number, step = 1): number[] {
  const [begin, end] = second === undefined ? [0, first] : [first, second];
  if (step === 0) throw new ChatTemplateError('The chat template calls range() with a step of 0.');
  const length = Math.max(0, Math.ceil((end - begin) / step));
  if (!(length <= maxListItems))
    throw new ChatTemplateError(`The chat template makes a list of more than ${maxListItems} items.`);
  return Array.from({ length }, (_, index) => begin + index * step);
}
