import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gguf } from '@huggingface/gguf';
import { describe, expect, test } from 'vitest';
import {
  FileMissingError,
  folderSource,
  loadTokenizer,
  memorySource,
  openCheckpoint,
  readGguf,
  singleFileSource,
  Tokenizer,
} from '../src/index.ts';
import { GgufBytes, metadataFile, smallLlama, writeEntry, type WrittenValue } from './write-gguf.ts';

/** The library's fetch, over bytes. */
function fetchOf(bytes: Uint8Array<ArrayBuffer>): typeof fetch {
  return async (_, init) => {
    const { Range } = init!.headers as { Range: string };
    const [, begin, end] = /^bytes=(\d+)-(\d+)$/.exec(Range)!;
    return new Response(bytes.slice(Number(begin), Number(end) + 1), {
      headers: { 'content-range': `bytes ${begin}-${end}/${bytes.length}` },
    });
  };
}

const everyType: Readonly<Record<string, WrittenValue>> = {
  'general.architecture': 'llama',
  text: 'Füße ▁ 🦙',
  empty: '',
  yes: true,
  no: false,
  number: { f32: -1.5 },
  count: { u32: 4_294_967_295 },
  'list.text': { strings: ['a', '', 'Ġb'] },
  'list.none': { strings: [] },
  'list.f32': { f32s: [1, -0.25, Infinity] },
  'list.i32': { i32s: [3, -7] },
};

test('headers read as the library reads them', async () => {
  const file = new GgufBytes().begin(3, Object.keys(everyType).length + 5);
  for (const [key, value] of Object.entries(everyType)) writeEntry(file, key, value);
  file.entry('u16', 'u16').u8(1, 2).entry('i8', 'i8').u8(-3).entry('f64', 'f64').f64(Math.PI);
  file
    .entry('u64', 'u64')
    .u64(2n ** 63n + 1n)
    .entry('i64', 'i64')
    .u64(-5);
  file.tensor('one', { dimensions: [256, 3], type: 12, offset: 0 });
  file.tensor('two', { dimensions: [64, 2], type: 8, offset: 1024 });
  file.tensor('three', { dimensions: [5], offset: 448 });
  const bytes = file.data(2048).done();
  const ours = await readGguf(memorySource(new Map([['m.gguf', bytes]])), 'm.gguf');
  const theirs = await gguf('https://example.org/m.gguf', { fetch: fetchOf(bytes) });
  const plain = (value: unknown): unknown =>
    typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value;
  const { version, tensor_count, kv_count, ...entries } = theirs.metadata as unknown as Record<string, unknown>;
  expect([version, tensor_count, kv_count]).toEqual([ours.version, 3n, BigInt(ours.metadata.size)]);
  expect(Object.fromEntries(ours.metadata)).toEqual(
    Object.fromEntries(Object.entries(entries).map(([key, value]) => [key, plain(value)])),
  );
  const dataBegin = Number(theirs.tensorDataOffset);
  expect(ours.tensors.map(({ name, shape, begin }) => ({ name, shape, begin }))).toEqual(
    theirs.tensorInfos
      .map(({ name, shape, offset }) => ({
        name,
        shape: shape.map(Number).reverse(),
        begin: dataBegin + Number(offset),
      }))
      .sort((a, b) => a.begin - b.begin),
  );
  expect(ours.tensors.map(({ name, type, begin, end }) => [name, type, end - begin])).toEqual([
    ['one', 'Q4_K', 432],
    ['three', 'F32', 20],
    ['two', 'Q8_0', 136],
  ]);
});

test('a header of several megabytes is read in growing steps, each byte once', async () => {
  const tokens = Array.from({ length: 60_000 }, (_, id) => `token ${id} ${'x'.repeat(40)}`);
  const bytes = metadataFile({ ...smallLlama, 'tokenizer.ggml.tokens': { strings: tokens } }, 60_000);
  const source = memorySource(new Map([['m.gguf', bytes]]));
  const reads: [number, number][] = [];
  const read: typeof source.read = (path, begin, end, options) => {
    reads.push([begin, end]);
    return source.read(path, begin, end, options);
  };
  const { metadata } = await readGguf({ ...source, read }, 'm.gguf');
  expect(metadata.get('tokenizer.ggml.tokens')).toEqual(tokens);
  expect(reads).toEqual([
    [0, 1 << 20],
    [1 << 20, 4 << 20],
  ]);
});

describe('a folder', () => {
  test('whose only GGUF file is taken, or the one that is named', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'gguf-'));
    const bytes = metadataFile(smallLlama);
    try {
      await writeFile(join(folder, 'one.gguf'), bytes);
      await writeFile(join(folder, 'README.md'), '');
      const source = folderSource(folder);
      const config = { model_type: 'llama', vocab_size: 4, head_dim: 4, tie_word_embeddings: true };
      expect(await (await openCheckpoint(source)).config()).toMatchObject(config);
      await writeFile(join(folder, 'two.GGUF'), bytes);
      await expect(openCheckpoint(source)).rejects.toThrow(FileMissingError);
      expect([...(await openCheckpoint(source, { file: 'two.GGUF' })).files]).toEqual(['two.GGUF']);
      const alone = singleFileSource(source, 'two.GGUF');
      expect([...(await openCheckpoint(alone)).files]).toEqual(['two.GGUF']);
      expect(await alone.exists('README.md')).toBe(false);
      await expect(alone.read('README.md', 0, 0)).rejects.toThrow(FileMissingError);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('with safetensors beside it keeps to those', async () => {
    const files = new Map([
      ['m.gguf', metadataFile(smallLlama)],
      ['model.safetensors', Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d)],
    ]);
    expect([...(await openCheckpoint(memorySource(files))).files]).toEqual(['model.safetensors']);
  });
});

test('rows of heads are streamed in the order of transformers, in whole heads', async () => {
  const entries = Object.entries(smallLlama);
  const file = new GgufBytes().begin(4, entries.length);
  for (const [key, value] of entries) writeEntry(file, key, value);
  file.tensor('token_embd.weight', { dimensions: [8, 4] });
  file.tensor('blk.0.attn_q.weight', { dimensions: [8, 8], offset: 128 });
  file.tensor('blk.0.attn_q.bias', { dimensions: [8], offset: 384 });
  file.tensor('blk.0.attn_v.weight', { dimensions: [8, 8], offset: 416 }).data(416);
  for (let value = 0; value < 64; value++) file.f32(value);
  const bytes = file.done();
  const view = new DataView(bytes.buffer);
  const begin = bytes.length - 672;
  for (let value = 0; value < 72; value++)
    view.setFloat32(begin + 128 + value * 4, value < 64 ? value : value - 64, true);
  const checkpoint = await openCheckpoint(memorySource(new Map([['m.gguf', bytes]])));
  const layer = 'model.layers.0.self_attn';
  const got = new Map<string, number[]>();
  for await (const { name, bytes: slice } of checkpoint.stream([
    `${layer}.q_proj.weight`,
    `${layer}.q_proj.bias`,
    `${layer}.v_proj.weight`,
  ])) {
    got.set(name, [...new Float32Array(slice.slice().buffer)]);
  }
  // Two heads of four rows: the file has rows 0, 2, 1, 3 of each.
  const order = [0, 2, 1, 3, 4, 6, 5, 7];
  expect(got.get(`${layer}.q_proj.bias`)).toEqual(order);
  expect(got.get(`${layer}.q_proj.weight`)).toEqual(
    order.flatMap((row) => Array.from({ length: 8 }, (_, k) => row * 8 + k)),
  );
  expect(got.get(`${layer}.v_proj.weight`)).toEqual(Array.from({ length: 64 }, (_, value) => value));
});

interface HubFile {
  readonly added_tokens: readonly { id: number; content: string; special: boolean }[];
  readonly model: {
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | [string, string])[];
  };
}

interface Golden {
  readonly config: Record<string, unknown>;
  readonly cases: readonly { text: string; ids: number[]; plain: number[]; decoded: string }[];
}

const fixtures = new URL('../../goldens/fixtures/tokenizers/', import.meta.url);
const json = async <T>(file: string): Promise<T> => JSON.parse(await readFile(new URL(file, fixtures), 'utf8')) as T;

describe.each([
  ['byte-level', 'gpt2'],
  ['byte-fallback', 'llama'],
] as const)('a %s vocabulary', (kind, model) => {
  async function metadataOf(): Promise<Record<string, WrittenValue>> {
    const hub = await json<HubFile>(`${kind}.json`);
    const special = new Map(hub.added_tokens.map(({ id, special: is }) => [id, is]));
    const tokens = Object.entries(hub.model.vocab).sort((a, b) => a[1] - b[1]);
    const merges = hub.model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' ')));
    const rank = new Map(merges.map((merge, index) => [merge.replace(' ', ''), index]));
    const role = (text: string): WrittenValue => ({ u32: hub.model.vocab[text]! });
    return {
      ...smallLlama,
      'tokenizer.ggml.model': model,
      'tokenizer.ggml.tokens': { strings: tokens.map(([text]) => text) },
      'tokenizer.ggml.token_type': {
        i32s: tokens.map(([, id]) => (special.has(id) ? (special.get(id) ? 3 : 4) : 1)),
      },
      ...(model === 'gpt2'
        ? { 'tokenizer.ggml.pre': 'llama-bpe', 'tokenizer.ggml.merges': { strings: merges } }
        : { 'tokenizer.ggml.scores': { f32s: tokens.map(([text]) => -(rank.get(text) ?? 1e6)) } }),
      'tokenizer.ggml.bos_token_id': role(model === 'gpt2' ? '<|bos|>' : '<s>'),
      'tokenizer.ggml.eos_token_id': role(model === 'gpt2' ? '<|end|>' : '</s>'),
      ...(model === 'llama' ? { 'tokenizer.ggml.unknown_token_id': role('<unk>') } : {}),
      'tokenizer.chat_template': '{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}',
      'tokenizer.chat_template.loud': '{% for m in messages %}{{ m.content | upper }}{% endfor %}',
    };
  }

  async function open() {
    const checkpoint = await openCheckpoint(memorySource(new Map([['m.gguf', metadataFile(await metadataOf(), 800)]])));
    return {
      checkpoint,
      tokenizer: await loadTokenizer(checkpoint.source),
      golden: await json<Golden>(`${kind}.cases.json`),
    };
  }

  test('gives the tokens and texts of the tokenizer.json that it was made from', async () => {
    const { tokenizer, golden } = await open();
    for (const { text, ids, plain, decoded } of golden.cases) {
      const tokenizerOfHub = new Tokenizer({ tokenizerJson: await json(`${kind}.json`), config: golden.config });
      expect(tokenizerOfHub.encode(text)).toEqual(ids);
      expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids });
      expect({ text, ids: tokenizer.encode(text, { addSpecialTokens: false }) }).toEqual({ text, ids: plain });
      expect(tokenizer.decode(ids)).toBe(decoded);
    }
  });

  test('has its special tokens, chat templates and ends', async () => {
    const { checkpoint, tokenizer } = await open();
    const bos = tokenizer.tokenText(tokenizer.special.bos!);
    expect(tokenizer.applyChatTemplate([{ role: 'user', content: 'hi' }])).toBe(`${bos}hi`);
    expect(tokenizer.applyChatTemplate([{ role: 'user', content: 'hi' }], { template: 'loud' })).toBe('HI');
    const ends = new Set([tokenizer.special.eos, tokenizer.tokenId('<|end|>')]);
    expect(await checkpoint.generationConfig()).toEqual({ eos_token_id: [...ends] });
    expect(tokenizer.isSpecial(tokenizer.special.eos!)).toBe(true);
  });
});

test('ends that the metadata does not name are found by their texts, and wishes for sampling are kept', async () => {
  const metadata: Record<string, WrittenValue> = {
    ...smallLlama,
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.tokens': { strings: ['a', '<|im_end|>', '<|endoftext|>', '<|eot_id|>'] },
    'tokenizer.ggml.token_type': { i32s: [1, 3, 3, 1] },
    'tokenizer.ggml.eos_token_id': { u32: 2 },
    'general.sampling.temp': { f32: 0.5 },
    'general.sampling.top_k': { u32: 20 },
  };
  const checkpoint = await openCheckpoint(memorySource(new Map([['m.gguf', metadataFile(metadata)]])));
  expect(await checkpoint.generationConfig()).toEqual({
    eos_token_id: [2, 1],
    do_sample: true,
    temperature: 0.5,
    top_k: 20,
  });
});

test.each([
  [{}, { rope_type: 'default', rope_theta: 10_000 }],
  [
    {
      'llama.rope.freq_base': { f32: 500_000 },
      'llama.rope.scaling.type': 'linear',
      'llama.rope.scaling.factor': { f32: 4 },
    },
    { rope_type: 'linear', rope_theta: 500_000, factor: 4 },
  ],
  [
    {
      'llama.rope.scaling.type': 'yarn',
      'llama.rope.scaling.factor': { f32: 4 },
      'llama.rope.scaling.original_context_length': { u32: 32 },
    },
    { rope_type: 'yarn', rope_theta: 10_000, factor: 4, original_max_position_embeddings: 32 },
  ],
] as const)('rope of %j', async (entries, expected) => {
  const file = metadataFile({ ...smallLlama, ...entries });
  const checkpoint = await openCheckpoint(memorySource(new Map([['m.gguf', file]])));
  expect(await checkpoint.config()).toMatchObject({ rope_parameters: expected });
});
