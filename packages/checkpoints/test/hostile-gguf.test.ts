import { expect, test } from 'vitest';
import { GgufError, memorySource, openCheckpoint, readGguf } from '../src/index.ts';
import { GgufBytes, metadataFile, smallLlama, valueTypes } from './write-gguf.ts';
import { seededRandom } from './write-safetensors.ts';

const file = (): GgufBytes => new GgufBytes();
const good = (): GgufBytes =>
  file()
    .begin(1, 0)
    .tensor('a', { dimensions: [32, 2] })
    .data(256);
const two = (first: number, second: number): Uint8Array =>
  file()
    .begin(2, 0)
    .tensor('a', { dimensions: [32], offset: first })
    .tensor('b', { dimensions: [32], offset: second })
    .data(256)
    .done();
const typed = (type: number, width = 256): Uint8Array =>
  file()
    .begin(1, 0)
    .tensor('a', { dimensions: [width, 2], type })
    .data(4096)
    .done();
const shaped = (...dimensions: (number | bigint)[]): Uint8Array =>
  file().begin(1, 0).tensor('a', { dimensions }).data(4096).done();

/** Files that break the format, and what is said of each. */
const table: [name: string, file: Uint8Array, message: string][] = [
  ['empty file', new Uint8Array(0), 'the file ends within the magic number'],
  ['three bytes', Uint8Array.of(0x47, 0x47, 0x55), 'the file ends within the magic number'],
  ['safetensors', Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d), 'begins with "GGUF", this one does not'],
  ['nothing but the magic number', Uint8Array.of(0x47, 0x47, 0x55, 0x46), 'ends within the version'],
  ['version 0', file().begin(0, 0, 0).done(), 'version 0 is not supported'],
  ['version 1', file().begin(0, 0, 1).done(), 'version 1 is not supported'],
  ['version 4', file().begin(0, 0, 4).done(), 'version 4 is not supported'],
  ['big-endian', file().begin(0, 0, 0x0300_0000).done(), 'big-endian'],
  ['cut within the counts', file().begin(0, 0).done().subarray(0, 20), 'ends within the number of metadata entries'],
  [
    '2^63 tensors',
    file()
      .begin(1n << 63n, 0)
      .done(),
    'number of tensors is 9223372036854775808',
  ],
  ['65,537 tensors', file().begin(65_537, 0).done(), 'at most 65536 are expected'],
  ['more tensors than bytes', file().begin(1000, 0).done(), 'the number of tensors is 1000, for which the file is too'],
  [
    '2^64 - 1 entries',
    file()
      .begin(0, (1n << 64n) - 1n)
      .done(),
    'number of metadata entries is 18446744073709551615',
  ],
  ['more entries than bytes', file().begin(0, 1000).done(), 'for which the file is too short'],
  [
    'a key of 2^63 bytes',
    file()
      .begin(0, 1)
      .string('a', 1n << 63n)
      .data(64)
      .done(),
    'the key of metadata entry 0 is',
  ],
  ['a key of 70,000 bytes', file().begin(0, 1).string('a', 70_000).data(99_000).done(), 'at most 65535 are expected'],
  [
    'a key longer than the file',
    file().begin(0, 1).string('abc', 500).data(64).done(),
    'for which the file is too short',
  ],
  ['a key that is not UTF-8', file().begin(0, 1).u64(1).u8(0xff).data(64).done(), 'is not UTF-8'],
  [
    'a key given twice',
    file().begin(0, 2).entry('a', 'u8').u8(1).entry('a', 'u8').u8(1).done(),
    'the metadata has "a" twice',
  ],
  ['an unknown value type', file().begin(0, 1).string('a').u32(13).data(64).done(), 'unknown value type 13'],
  ['a truth value of 2', file().begin(0, 1).entry('a', 'bool').u8(2).data(64).done(), 'expected 0 or 1'],
  [
    'a string of 2^62 bytes',
    file()
      .begin(0, 1)
      .entry('a', 'string')
      .string('x', 1n << 62n)
      .data(64)
      .done(),
    'the length of the metadata\'s "a" is 4611686018427387904',
  ],
  [
    'a string that runs past the end',
    file().begin(0, 1).entry('a', 'string').string('x', 10_000).data(64).done(),
    'for which the file is too short',
  ],
  ['a value cut off', file().begin(0, 1).entry('a', 'u64').u32(0).done(), 'the file ends within'],
  [
    'an array of 2^60 bytes',
    file()
      .begin(0, 1)
      .entry('a', 'array')
      .u32(valueTypes.u8)
      .u64(1n << 60n)
      .data(64)
      .done(),
    'is 1152921504606846976, at most',
  ],
  [
    'an array longer than the file',
    file().begin(0, 1).entry('a', 'array').u32(valueTypes.f64).u64(1_000_000).data(64).done(),
    'for which the file is too short',
  ],
  [
    'an array of strings that the file cannot hold',
    file().begin(0, 1).entry('a', 'array').u32(valueTypes.string).u64(100).data(200).done(),
    'for which the file is too short',
  ],
  [
    'an array of arrays',
    file().begin(0, 1).entry('a', 'array').u32(valueTypes.array).u64(1).u32(valueTypes.array).u64(1).data(64).done(),
    'an array of arrays',
  ],
  [
    'an array of an unknown type',
    file().begin(0, 1).entry('a', 'array').u32(99).u64(1).data(64).done(),
    'an element of the metadata\'s "a" has the unknown value type 99',
  ],
  ['an alignment of 0', file().begin(0, 1).entry('general.alignment', 'u32').u32(0).done(), 'general.alignment is "0"'],
  ['an alignment of 24', file().begin(0, 1).entry('general.alignment', 'u32').u32(24).done(), 'a power of two'],
  [
    'an alignment of 2^31',
    file()
      .begin(0, 1)
      .entry('general.alignment', 'u32')
      .u32(2 ** 31)
      .done(),
    'a power of two up to 65536',
  ],
  ['an alignment as text', file().begin(0, 1).entry('general.alignment', 'string').string('32').done(), 'power of two'],
  [
    'a name of 65 bytes',
    file()
      .begin(1, 0)
      .tensor('a'.repeat(65), { dimensions: [1] })
      .data(64)
      .done(),
    'the name of tensor 0 is 65, at most 64',
  ],
  ['no dimensions', shaped(), '0 dimensions'],
  ['five dimensions', shaped(1, 1, 1, 1, 1), '5 dimensions'],
  [
    '2^31 dimensions',
    file()
      .begin(1, 0)
      .string('a')
      .u32(2 ** 31)
      .data(64)
      .done(),
    '2147483648 dimensions',
  ],
  ['a dimension of 0', shaped(32, 0), 'absurd shape [0, 32]'],
  ['dimensions whose product overflows', shaped(1n << 40n, 1n << 40n), 'absurd shape'],
  ['a dimension of 2^64 - 1', shaped((1n << 64n) - 1n), 'absurd shape'],
  ['more values than bytes', shaped(1n << 40n), 'past the end of the file'],
  ['rows that are no whole blocks', typed(12, 255), 'no whole blocks of 256 values of Q4_K'],
  ['rows shorter than a block', typed(8, 16), 'no whole blocks of 32 values of Q8_0'],
  ['IQ2_XXS', typed(16), 'tensor "a" is IQ2_XXS; read are F32, F16'],
  ['IQ4_XS', typed(23), 'tensor "a" is IQ4_XS'],
  ['Q2_K', typed(10), 'tensor "a" is Q2_K'],
  ['TQ1_0', typed(34), 'tensor "a" is TQ1_0'],
  ['MXFP4', typed(39), 'tensor "a" is MXFP4'],
  ['I32', typed(26), 'tensor "a" is I32'],
  ['a type that was given up', typed(4), 'of the unknown type 4'],
  ['an unknown type', typed(1000), 'of the unknown type 1000'],
  ['an offset past the file', two(0, 1 << 20), 'past the end of the file'],
  [
    'an offset of 2^63',
    file()
      .begin(1, 0)
      .tensor('a', { dimensions: [32], offset: 1n << 63n })
      .data(128)
      .done(),
    'past the end of the file',
  ],
  ['an offset that is not aligned', two(0, 130), 'no multiple of 32'],
  ['tensors that overlap', two(0, 96), 'tensors "a" and "b" overlap'],
  ['tensors at the same place', two(64, 64), 'overlap'],
  [
    'a tensor given twice',
    file()
      .begin(2, 0)
      .tensor('a', { dimensions: [1] })
      .tensor('a', { dimensions: [1], offset: 32 })
      .data(64)
      .done(),
    'tensor "a" is there twice',
  ],
  ['data cut off', good().done().subarray(0, -1), 'needs 256 bytes from byte 0 of the data, past the end'],
];

test.each(table)('%s', async (_, bytes, message) => {
  const failure = await readGguf(memorySource(new Map([['m.gguf', bytes]])), 'm.gguf').catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(GgufError);
  expect((failure as Error).message).toContain(message);
  expect((failure as Error).message).toContain('memory/m.gguf: ');
});

const vocabulary = {
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.tokens': { strings: ['a', 'b', 'ab'] },
  'tokenizer.ggml.merges': { strings: ['a b'] },
};

/** Files whose format is right, and whose model cannot be put together. */
const models: [name: string, metadata: Parameters<typeof metadataFile>[0], message: string][] = [
  ['no architecture', { 'general.architecture': undefined }, 'no general.architecture'],
  ['an architecture that is a number', { 'general.architecture': { u32: 3 } }, 'has to be a string'],
  ['an unknown architecture', { 'general.architecture': 'mamba' }, 'the architecture is "mamba"'],
  ['no layers', { 'llama.block_count': undefined }, 'no llama.block_count'],
  ['layers as text', { 'llama.block_count': '1' }, 'llama.block_count has to be a whole number'],
  ['heads of odd width', { 'llama.attention.head_count': { u32: 8 } }, 'heads are 1 wide'],
  ['no heads', { 'llama.attention.head_count': { u32: 0 } }, 'wide, expected an even number'],
  ['layers that differ', { 'llama.attention.head_count_kv': { i32s: [2, 1] } }, 'differs from layer to layer'],
  ['an epsilon that is not a number', { 'llama.attention.layer_norm_rms_epsilon': { f32: NaN } }, 'a finite number'],
  ['experts', { 'llama.expert_count': { u32: 8 } }, 'mixture of experts'],
  ['an unknown rope scaling', { 'llama.rope.scaling.type': 'spiral' }, 'the rope scaling is "spiral"'],
  ['a part of a model', { 'split.count': { u32: 3 } }, 'one of 3 parts'],
  ['more tokens than rows', { 'tokenizer.ggml.tokens': { strings: ['a', 'b', 'c', 'd', 'e'] } }, 'there are 5 tokens'],
  [
    'an unknown kind of vocabulary',
    { ...vocabulary, 'tokenizer.ggml.model': 'rwkv' },
    'tokenizer.ggml.model is "rwkv"',
  ],
  ['an unknown way to cut', { ...vocabulary, 'tokenizer.ggml.pre': 'chameleon' }, 'tokenizer.ggml.pre is "chameleon"'],
  ['no merges', { ...vocabulary, 'tokenizer.ggml.merges': undefined }, 'no tokenizer.ggml.merges'],
  ['a merge of one', { ...vocabulary, 'tokenizer.ggml.merges': { strings: ['ab'] } }, 'merge 0 is no pair'],
  ['kinds for other tokens', { ...vocabulary, 'tokenizer.ggml.token_type': { i32s: [1] } }, 'has 1 entries for 3'],
  [
    'a beginning that is no token',
    { ...vocabulary, 'tokenizer.ggml.bos_token_id': { u32: 7 }, 'tokenizer.ggml.add_bos_token': true },
    'bos_token_id is 7',
  ],
];

test.each(models)('%s', async (_, metadata, message) => {
  const source = memorySource(new Map([['m.gguf', metadataFile({ ...smallLlama, ...metadata })]]));
  const open = async (): Promise<void> => {
    const checkpoint = await openCheckpoint(source);
    await checkpoint.config();
    if (await checkpoint.source.exists('tokenizer.json')) {
      await checkpoint.source.readWhole('tokenizer.json', { maxBytes: 1 << 20 });
    }
  };
  const failure = await open().catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(GgufError);
  expect((failure as Error).message).toContain(message);
});

test('a header whose bytes were changed at random opens, or is a typed error, and soon', async () => {
  const whole = metadataFile({ ...smallLlama, ...vocabulary });
  const random = seededRandom(11);
  let refused = 0;
  const begin = performance.now();
  for (let round = 0; round < 2000; round++) {
    const bytes = Uint8Array.from(whole);
    for (let change = 0; change <= round % 3; change++) {
      bytes[Math.floor(random() * (bytes.length - 160))] = Math.floor(random() * 256);
    }
    const outcome = await openCheckpoint(memorySource(new Map([['m.gguf', bytes]]))).catch((error: unknown) => error);
    if (outcome instanceof Error) {
      expect(outcome).toBeInstanceOf(GgufError);
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(500);
  expect(performance.now() - begin).toBeLessThan(30_000);
});
