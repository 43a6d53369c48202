import { describe, expect, test } from 'vitest';
import { text } from '../../test/write-safetensors.ts';
import { ChatTemplateError } from '../errors.ts';
import { memorySource } from '../sources/memory.ts';
import { ChatTemplate, type ChatMessage, type RenderOptions } from './chat-template.ts';
import { formatTime } from './format-time.ts';
import { readChatTemplate } from './read-chat-template.ts';

const render = (template: string, messages: readonly ChatMessage[] = [], options: RenderOptions = {}): string =>
  new ChatTemplate(new Map([['default', template]])).render(messages, options);

const conversation: ChatMessage[] = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hi <b>there</b>' },
  { role: 'assistant', content: ' Hello! ' },
  { role: 'user', content: 'Bye' },
];

const chatml = `{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content | trim + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}`;

describe('templates of the kinds that checkpoints carry', () => {
  test('ChatML, with a variable of its own', () => {
    const turns =
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <b>there</b><|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n';
    expect(render(chatml, conversation)).toBe(`${turns}<|im_start|>assistant\n`);
    expect(render(chatml, conversation, { addGenerationPrompt: false })).toBe(turns);
    expect(render(chatml, conversation, { variables: { enable_thinking: false } })).toContain('<think>\n\n</think>');
  });

  test('alternating roles, with a refusal', () => {
    const template =
      "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}" +
      "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}";
    const variables = { bos_token: '<s>', eos_token: '</s>' };
    expect(render(template, conversation.slice(1), { variables })).toBe(
      '<s>[INST] Hi <b>there</b> [/INST] Hello! </s>[INST] Bye [/INST]',
    );
    expect(() => render(template, conversation, { variables })).toThrow(
      'refuses the conversation: Roles must alternate',
    );
  });

  test('tools as JSON, the date, namespaces, macros', () => {
    const template =
      '{% macro call(t) %}{{ t.name }}:{{ t | tojson }};{% endmacro %}{% set ns = namespace(n=0) %}' +
      '{% for t in tools %}{{ call(t) }}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }} {{ strftime_now("%d %b %Y") }}{% for i in range(3) %}{{ i }}{% endfor %}';
    const now = new Date(2026, 1, 3);
    expect(render(template, [], { tools: [{ name: 'f', args: [1] }], now })).toBe(
      'f:{"name": "f", "args": [1]};1 03 Feb 2026012',
    );
  });
});

describe('templates that must not be trusted', () => {
  const table: [name: string, template: string, message: string][] = [
    ['does not parse', '{% for %}', 'failed'],
    ['unclosed', '{{ messages', 'failed'],
    ['unknown filter', '{{ messages | explode }}', 'failed'],
    ['calls what is not there', '{{ open("/etc/passwd") }}', 'Cannot call'],
    ['reaches for a constructor', '{{ messages.constructor.constructor("return 1")() }}', 'Cannot call'],
    ['reaches for a prototype', '{{ messages.__proto__.push() }}', 'failed'],
    ['range without end', '{% for i in range(10 ** 12) %}{{ i }}{% endfor %}', 'list of more than'],
    ['range of step 0', '{{ range(0, 5, 0) }}', 'step of 0'],
    [
      'loops in loops',
      '{% for a in range(3000) %}{% for b in range(3000) %}{{ b }}{% endfor %}{% endfor %}',
      'does not end',
    ],
    [
      'doubles a text',
      '{% set ns = namespace(x="ab") %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}',
      'text of more than',
    ],
    [
      'doubles a list',
      '{% set ns = namespace(x=[1, 2]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}',
      'list of more than',
    ],
    ['recursion', '{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}', 'recurses too deeply'],
    ['indents by a billion', '{{ "a\nb" | indent(1000000000) }}', 'failed'],
    ['nested a hundred thousand deep', `{{ ${'('.repeat(100_000)}1${')'.repeat(100_000)} }}`, 'recurses too deeply'],
    ['space without end', `{{ 1 }}${' '.repeat(200_000)}`, 'spaces in a row'],
    ['of 2 MiB', 'x'.repeat(2 << 20), 'at most 1048576 are read'],
  ];
  test.each(table)('%s', (_name, template, message) => {
    const before = performance.now();
    let failure: unknown;
    try {
      render(template, conversation);
    } catch (cause) {
      failure = cause;
    }
    expect(failure).toBeInstanceOf(ChatTemplateError);
    expect((failure as Error).message).toContain(message);
    expect(performance.now() - before).toBeLessThan(15_000);
  });

  test('a message cannot smuggle in template code', () => {
    expect(render(chatml, [{ role: 'user', content: '{{ 7 * 7 }}{% raw %}' }])).toContain('{{ 7 * 7 }}{% raw %}');
  });
});

describe('files', () => {
  const source = (files: Record<string, string>) =>
    memorySource(new Map(Object.entries(files).map(([name, body]) => [name, text(body)])));

  test('none, a string, a list, and the file that wins', async () => {
    expect(await readChatTemplate(source({}), {})).toBeUndefined();
    expect((await readChatTemplate(source({}), { chat_template: 'a' }))!.render([])).toBe('a');
    const list = [
      { name: 'default', template: 'plain' },
      { name: 'tool_use', template: 'tools' },
    ];
    const several = (await readChatTemplate(source({}), { chat_template: list }))!;
    expect(several.names).toEqual(['default', 'tool_use']);
    expect(several.render([])).toBe('plain');
    expect(several.render([], { tools: [{}] })).toBe('tools');
    expect(several.render([], { template: 'tool_use' })).toBe('tools');
    expect(() => several.render([], { template: 'rag' })).toThrow(
      'no chat template "rag"; there are: default, tool_use',
    );
    const file = (await readChatTemplate(source({ 'chat_template.jinja': 'from the file' }), { chat_template: list }))!;
    expect(file.render([])).toBe('from the file');
    expect(file.render([], { tools: [{}] })).toBe('tools');
  });

  test.each([[5], [[5]], [[{ name: 'x' }]], [{ default: 'x' }]])('%j is no chat template', async (entry) => {
    await expect(readChatTemplate(source({}), { chat_template: entry })).rejects.toBeInstanceOf(ChatTemplateError);
  });
});

test('times are written as strftime writes them', () => {
  const time = new Date(2026, 1, 3, 15, 4, 9);
  expect(formatTime(time, '%A %a %d %B %b %Y %y %m %H %I %p %M %S %j 100%% %Q')).toBe(
    'Tuesday Tue 03 February Feb 2026 26 02 15 03 PM 04 09 034 100% %Q',
  );
  expect(formatTime(new Date(2024, 11, 31, 0), '%j %I %p')).toBe('366 12 AM');
});
