import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { seededRandom, text } from '../../test/write-safetensors.ts';
import { TokenizerError } from '../errors.ts';
import { memorySource } from '../sources/memory.ts';
import { Tokenizer, loadTokenizer } from './tokenizer.ts';

interface Golden {
  readonly config: Record<string, unknown>;
  readonly cases: { text: string; ids: number[]; plain: number[]; decoded: string; decodedAll: string }[];
}

const fixtures = new URL('../../../goldens/fixtures/tokenizers/', import.meta.url);
const read = async <T>(file: string): Promise<T> => JSON.parse(await readFile(new URL(file, fixtures), 'utf8')) as T;
const kinds = ['byte-level', 'byte-fallback', 'metaspace'] as const;

async function load(kind: (typeof kinds)[number]): Promise<{ tokenizer: Tokenizer; golden: Golden }> {
  const golden = await read<Golden>(`${kind}.cases.json`);
  const tokenizerJson = await read<Record<string, unknown>>(`${kind}.json`);
  return { tokenizer: new Tokenizer({ tokenizerJson, config: golden.config }), golden };
}

describe.each(kinds)('%s, beside the tokenizers library', (kind) => {
  test('the same tokens', async () => {
    const { tokenizer, golden } = await load(kind);
    for (const { text: input, ids, plain } of golden.cases) {
      expect({ input, ids: tokenizer.encode(input) }).toEqual({ input, ids });
      expect({ input, ids: tokenizer.encode(input, { addSpecialTokens: false }) }).toEqual({ input, ids: plain });
    }
  });

  test('the same text, with and without special tokens', async () => {
    const { tokenizer, golden } = await load(kind);
    for (const { ids, decoded, decodedAll } of golden.cases) {
      expect(tokenizer.decode(ids)).toBe(decoded);
      expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(decodedAll);
    }
  });

  test('pieces as tokens arrive are the whole text, and none ends in a broken character', async () => {
    const { tokenizer, golden } = await load(kind);
    for (const { ids, decoded } of golden.cases) {
      const detokenizer = tokenizer.detokenizer();
      const pieces = ids.map((id) => detokenizer.push(id));
      for (const piece of pieces) expect(decoded.includes('\ufffd') || !piece.includes('\ufffd')).toBe(true);
      expect(pieces.join('') + detokenizer.flush()).toBe(decoded);
    }
  });

  test('a text cut anywhere continues from its prompt', async () => {
    const { tokenizer, golden } = await load(kind);
    for (const { ids } of golden.cases) {
      const whole = tokenizer.decode(ids);
      for (let cut = 0; cut <= ids.length; cut++) {
        const before = tokenizer.detokenizer();
        const head = ids
          .slice(0, cut)
          .map((id) => before.push(id))
          .join('');
        expect(head + tokenizer.decode(ids.slice(cut), { after: ids.slice(0, cut) })).toBe(whole);
      }
    }
  });

  test('random tokens: streamed equals whole, lone surrogates never appear', async () => {
    const { tokenizer } = await load(kind);
    const random = seededRandom(9);
    for (let round = 0; round < 300; round++) {
      const ids = Array.from({ length: 40 }, () => Math.floor(random() * tokenizer.vocabSize));
      const detokenizer = tokenizer.detokenizer({ skipSpecialTokens: false });
      const pieces = [...ids.map((id) => detokenizer.push(id)), detokenizer.flush()];
      expect(pieces.every((piece) => piece.match(/[\ud800-\udfff]/u) === null)).toBe(true);
      expect(pieces.join('')).toBe(tokenizer.decode(ids, { skipSpecialTokens: false }));
    }
  });
});

describe('incomplete characters', () => {
  test.each(['byte-level', 'byte-fallback'] as const)(
    '%s: held back until complete, U+FFFD only at the end',
    async (kind) => {
      const { tokenizer } = await load(kind);
      const ids = tokenizer.encode('👩', { addSpecialTokens: false }).slice(-4);
      expect(ids.map((id) => tokenizer.tokenBytes(id))).toEqual([...text('👩')].map((byte) => Uint8Array.of(byte)));
      const detokenizer = tokenizer.detokenizer({ after: tokenizer.encode('a') });
      expect(ids.map((id) => detokenizer.push(id))).toEqual(['', '', '', '👩']);
      expect(detokenizer.flush()).toBe('');
      for (const id of ids.slice(0, 3)) expect(detokenizer.push(id)).toBe('');
      expect(detokenizer.flush()).toBe('\ufffd');
      expect(detokenizer.push(ids[0]!)).toBe('');
      const letter = tokenizer.encode('b', { addSpecialTokens: false }).at(-1)!;
      expect(detokenizer.push(letter)).toContain('\ufffd');
    },
  );
});

describe('a vocabulary', () => {
  test('sizes, names and special tokens', async () => {
    const { tokenizer } = await load('byte-level');
    expect(tokenizer.vocabSize).toBe(470);
    expect(tokenizer.special).toEqual({ bos: tokenizer.tokenId('<|bos|>'), eos: tokenizer.tokenId('<|end|>') });
    expect(tokenizer.isSpecial(tokenizer.special.eos!)).toBe(true);
    expect(tokenizer.tokenText(tokenizer.tokenId('Ġonce') ?? -1)).toBe('Ġonce');
    expect(tokenizer.decode([tokenizer.tokenId('tool call')!])).toBe('tool call');
    expect(tokenizer.tokenId('no such token')).toBeUndefined();
    const fallback = (await load('byte-fallback')).tokenizer;
    expect(fallback.special).toEqual({ bos: 1, eos: 2, unk: 0 });
  });

  test.each([-1, 1.5, 470, 1e9, Number.NaN])('token %d is not in it', async (id) => {
    const { tokenizer } = await load('byte-level');
    expect(() => tokenizer.decode([id])).toThrow(TokenizerError);
    expect(() => tokenizer.detokenizer().push(id)).toThrow(`Token ${id} is not in the vocabulary of 470 tokens`);
  });
});

describe('files', () => {
  const sourceOf = (files: Record<string, unknown>) =>
    memorySource(
      new Map(
        Object.entries(files).map(([name, body]) => [
          name,
          text(typeof body === 'string' ? body : JSON.stringify(body)),
        ]),
      ),
    );

  test('a checkpoint folder', async () => {
    const tokenizerJson = await read('byte-level.json');
    const chat_template =
      "{% for m in messages %}<|user|>{{ m['content'] }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    const config = { bos_token: { content: '<|bos|>' }, eos_token: '<|end|>', chat_template };
    const tokenizer = await loadTokenizer(
      sourceOf({ 'tokenizer.json': tokenizerJson, 'tokenizer_config.json': config }),
    );
    const prompt = tokenizer.applyChatTemplate([{ role: 'user', content: 'hi there' }]);
    expect(prompt).toBe('<|user|>hi there<|end|><|assistant|>');
    const ids = tokenizer.encode(prompt, { addSpecialTokens: false });
    expect(tokenizer.decode(ids)).toBe('hi there');
    expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(prompt);
    const bare = await loadTokenizer(sourceOf({ 'tokenizer.json': tokenizerJson }));
    expect(bare.chatTemplate).toBeUndefined();
    expect(() => bare.applyChatTemplate([])).toThrow('no chat template');
  });

  test.each([
    ['no file', {}, 'file-missing', 'tokenizer.json'],
    ['not JSON', { 'tokenizer.json': '<html>' }, 'config-file', 'expected JSON'],
    ['empty object', { 'tokenizer.json': '{}' }, 'tokenizer', 'cannot be used'],
    [
      'unknown model',
      {
        'tokenizer.json': {
          model: { type: 'Quantum' },
          decoder: null,
          post_processor: null,
          pre_tokenizer: null,
          normalizer: null,
          added_tokens: [],
        },
      },
      'tokenizer',
      'cannot be used',
    ],
    [
      'no added tokens',
      {
        'tokenizer.json': {
          model: { type: 'BPE', vocab: {}, merges: [] },
          decoder: null,
          post_processor: null,
          pre_tokenizer: null,
          normalizer: null,
        },
      },
      'tokenizer',
      'cannot be used',
    ],
  ] as const)('%s', async (_name, files, code, message) => {
    const failure = await loadTokenizer(sourceOf(files)).catch((cause: unknown) => cause);
    expect(failure).toMatchObject({ code });
    expect((failure as Error).message).toContain(message);
  });

  test.each([
    [{ type: 'WordPiece', prefix: '##', cleanup: true }, 'WordPiece'],
    [
      { type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'Replace', pattern: { String: 'a' }, content: 'b' }] },
      'Replace',
    ],
    [
      { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { Regex: 'a+' }, content: 'b' }] },
      'Replace by a regular expression',
    ],
  ])('a decoder that does not work token by token: %j', async (decoder, message) => {
    const tokenizerJson = { ...(await read<Record<string, unknown>>('byte-level.json')), decoder };
    expect(() => new Tokenizer({ tokenizerJson, config: {} })).toThrow(message);
  });

  test('a byte without a token is an error, not left out', async () => {
    const tokenizerJson = { ...(await read<{ model: object }>('byte-level.json')), added_tokens: [] };
    const model = { ...tokenizerJson.model, vocab: { a: 0 }, merges: [] };
    const tokenizer = new Tokenizer({ tokenizerJson: { ...tokenizerJson, model, post_processor: null }, config: {} });
    expect(tokenizer.encode('a')).toEqual([0]);
    expect(() => tokenizer.encode('ab')).toThrow(TokenizerError);
  });
});
