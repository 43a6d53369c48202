import { ChatTemplateError } from '../errors.ts';
import type { ByteSource, ReadOptions } from '../sources/byte-source.ts';
import { readWholeText } from '../sources/text.ts';
import { ChatTemplate } from './chat-template.ts';

const maxTemplateBytes = 4 << 20;

/**
 * The chat template of a checkpoint: `chat_template.jinja` if there is one, and `chat_template` of tokenizer_config.json, a string or
 * a list of `{ name, template }`. The file wins over a `default` in the configuration.
 *
 * @returns undefined when there is none.
 * @throws ChatTemplateError when the configuration's entry is neither.
 */
export async function readChatTemplate(
  source: ByteSource,
  tokenizerConfig: Record<string, unknown>,
  options: ReadOptions = {},
): Promise<ChatTemplate | undefined> {
  const templates = templatesOf(tokenizerConfig['chat_template']);
  const file = 'chat_template.jinja';
  if (await source.exists(file, options)) {
    templates.set('default', await readWholeText(source, file, { ...options, maxBytes: maxTemplateBytes }));
  }
  return templates.size > 0 ? new ChatTemplate(templates) : undefined;
}

function templatesOf(entry: unknown): Map<string, string> {
  if (entry === undefined || entry === null) return new Map();
  if (typeof entry === 'string') return new Map([['default', entry]]);
  const templates = new Map<string, string>();
  for (const item of Array.isArray(entry) ? (entry as unknown[]) : [undefined]) {
    const { name, template } = (item ?? {}) as { name?: unknown; template?: unknown };
    if (typeof name !== 'string' || typeof template !== 'string') {
      throw new ChatTemplateError(
        'tokenizer_config.json: expected chat_template to be a string or a list of { name, template }, got something else.',
      );
    }
    templates.set(name, template);
  }
  return templates;
}
