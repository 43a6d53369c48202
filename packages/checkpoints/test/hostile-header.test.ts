import { expect, test } from 'vitest';
import { SafetensorsError, memorySource, readHeader } from '../src/index.ts';
import { rawFile, safetensorsFile, seededBytes, seededRandom, text } from './write-safetensors.ts';

const four = new Uint8Array(4);
const eight = new Uint8Array(8);
const one = (entry: string): string => `{"a":${entry}}`;
const f32 = (shape: string, offsets: string): string => `{"dtype":"F32","shape":${shape},"data_offsets":${offsets}}`;

/** Files that break the format, and what is said of each. */
const table: [name: string, file: Uint8Array, message: string][] = [
  ['empty file', new Uint8Array(0), 'at least 8 bytes, got 0'],
  ['shorter than the length field', new Uint8Array(7), 'at least 8 bytes, got 7'],
  ['header longer than the file', rawFile('{}', undefined, 1000n), 'but the file has only 10'],
  ['header length of 2^63', rawFile('{}', undefined, 1n << 63n), 'at most 100000000 are allowed'],
  ['header length just over the limit', rawFile('{}', undefined, 100_000_001n), 'at most 100000000 are allowed'],
  ['header length 0', rawFile('', four), 'does not begin with "{"'],
  ['header that begins with a space', rawFile(' {}'), 'does not begin with "{"'],
  ['header that is an array', rawFile('[]'), 'does not begin with "{"'],
  ['a pickle', rawFile(Uint8Array.of(0x80, 0x02, 0x7d)), 'does not begin with "{"'],
  ['header cut in the middle', rawFile('{"a":{"dtype":"F32"'), 'not valid JSON'],
  ['text after the header', rawFile('{} x'), 'expected the end'],
  ['invalid UTF-8', rawFile(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), 'not valid JSON'],
  ['trailing comma', rawFile('{"a":1,}'), 'expected a string'],
  ['single quotes', rawFile("{'a':1}"), 'expected a string'],
  ['unquoted NaN', rawFile('{"a":NaN}'), 'expected a value'],
  ['nested a million deep', rawFile(`{"a":${'['.repeat(1_000_000)}`), 'nested deeper than 64'],
  ['a tensor given twice', rawFile(`{"a":${f32('[1]', '[0,4]')},"a":${f32('[1]', '[4,8]')}}`, eight), 'given twice'],
  [
    'a tensor given twice, once escaped',
    rawFile(`{"a":${f32('[1]', '[0,4]')},"\\u0061":${f32('[1]', '[4,8]')}}`, eight),
    'given twice',
  ],
  [
    'a field given twice',
    rawFile(one('{"dtype":"F32","dtype":"I8","shape":[4],"data_offsets":[0,4]}'), four),
    'given twice',
  ],
  ['tensor that is a number', rawFile(one('4')), 'must be described by an object'],
  ['tensor that is null', rawFile(one('null')), 'must be described by an object'],
  ['unknown dtype', rawFile(one('{"dtype":"F33","shape":[1],"data_offsets":[0,4]}'), four), 'dtype "F33"'],
  ['dtype of another case', rawFile(one('{"dtype":"f32","shape":[1],"data_offsets":[0,4]}'), four), 'dtype "f32"'],
  [
    'dtype named as a method',
    rawFile(one('{"dtype":"toString","shape":[1],"data_offsets":[0,4]}'), four),
    'dtype "toString"',
  ],
  ['no dtype', rawFile(one('{"shape":[1],"data_offsets":[0,4]}'), four), 'dtype none'],
  ['no shape', rawFile(one('{"dtype":"F32","data_offsets":[0,4]}'), four), 'needs a shape'],
  ['negative dimension', rawFile(one(f32('[-1]', '[0,4]')), four), 'got [-1]'],
  ['negative zero', rawFile(one(f32('[-0]', '[0,0]'))), 'got [-0]'],
  ['fractional dimension', rawFile(one(f32('[1.5]', '[0,4]')), four), 'got [1.5]'],
  ['dimension written as a float', rawFile(one(f32('[1.0]', '[0,4]')), four), 'got [1.0]'],
  ['dimension with an exponent', rawFile(one(f32('[1e0]', '[0,4]')), four), 'got [1e0]'],
  ['dimension with a leading zero', rawFile(one(f32('[01]', '[0,4]')), four), 'not valid JSON'],
  ['dimension as a string', rawFile(one(f32('["1"]', '[0,4]')), four), 'got ["1"]'],
  ['dimension past 2^53', rawFile(one(f32('[9007199254740993]', '[0,4]')), four), 'got [9007199254740993]'],
  ['dimensions whose product overflows', rawFile(one(f32('[4294967296,4294967296]', '[0,4]')), four), 'absurd shape'],
  ['overflow hidden behind a 0', rawFile(one(f32('[4294967296,4294967296,0]', '[0,0]'))), 'absurd shape'],
  ['bytes that overflow', rawFile(one(f32('[4503599627370496]', '[0,4]')), four), 'absurd shape'],
  ['offsets of one number', rawFile(one(f32('[1]', '[4]')), four), 'two non-negative integers'],
  ['offsets of three numbers', rawFile(one(f32('[1]', '[0,4,8]')), four), 'two non-negative integers'],
  ['offsets missing', rawFile(one('{"dtype":"F32","shape":[1]}'), four), 'data_offsets of two'],
  ['negative offset', rawFile(one(f32('[1]', '[-4,0]')), four), 'two non-negative integers'],
  ['fractional offset', rawFile(one(f32('[1]', '[0.5,4.5]')), four), 'two non-negative integers'],
  ['offsets in reverse', rawFile(one(f32('[1]', '[4,0]')), four), 'end before they begin'],
  [
    'fewer bytes than the shape takes',
    rawFile(one(f32('[2]', '[0,4]')), four),
    'takes 8 bytes, but its data_offsets span 4',
  ],
  [
    'more bytes than the shape takes',
    rawFile(one(f32('[1]', '[0,8]')), eight),
    'takes 4 bytes, but its data_offsets span 8',
  ],
  ['a tensor past the end of the file', rawFile(one(f32('[4]', '[0,16]')), four), 'take 16 bytes, but the file has 4'],
  ['file with bytes left over', rawFile(one(f32('[1]', '[0,4]')), eight), 'take 4 bytes, but the file has 8'],
  ['a hole at the start', rawFile(one(f32('[1]', '[4,8]')), eight), 'a hole before it'],
  [
    'a hole in the middle',
    rawFile(`{"a":${f32('[1]', '[0,4]')},"b":${f32('[1]', '[8,12]')}}`, new Uint8Array(12)),
    'a hole before it',
  ],
  [
    'overlapping tensors',
    rawFile(`{"a":${f32('[2]', '[0,8]')},"b":${f32('[2]', '[4,12]')}}`, new Uint8Array(12)),
    'overlaps another',
  ],
  [
    'two tensors at one place',
    rawFile(`{"a":${f32('[1]', '[0,4]')},"b":${f32('[1]', '[0,4]')}}`, four),
    'overlaps another',
  ],
  [
    'half a byte of F4',
    rawFile(one('{"dtype":"F4","shape":[1],"data_offsets":[0,1]}'), four),
    'does not fill whole bytes',
  ],
  ['metadata that is no object', rawFile('{"__metadata__":"pt"}'), '__metadata__ must be an object'],
  ['metadata that is not text', rawFile('{"__metadata__":{"a":1}}'), '"a" is none'],
];

test.each(table)('%s', async (_name, file, message) => {
  const failure: unknown = await readHeader(
    memorySource(new Map([['model.safetensors', file]])),
    'model.safetensors',
  ).catch((cause: unknown) => cause);
  expect(failure).toBeInstanceOf(SafetensorsError);
  expect((failure as SafetensorsError).name).toBe('SafetensorsError');
  expect((failure as Error).message).toContain(message);
  expect((failure as Error).message).toContain('memory/model.safetensors');
});

test('what the format allows is read: empty tensors, scalars, odd names, trailing spaces, unknown fields, sub-byte types', async () => {
  const header =
    `{"__metadata__":{"format":"pt"},"__proto__":${f32('[0,3]', '[0,0]')},"scalar":${f32('[]', '[0,4]')},"":${f32('[1]', '[4,8]')},` +
    `"half":{"dtype":"F4","shape":[2],"data_offsets":[8,9],"note":{"a":[1.5]}}}   `;
  const file = rawFile(header, new Uint8Array(9));
  const { entries, metadata } = await readHeader(memorySource(new Map([['f.safetensors', file]])), 'f.safetensors');
  const begin = 8 + header.length;
  expect(entries).toEqual([
    { name: '__proto__', dtype: 'F32', shape: [0, 3], begin, end: begin },
    { name: 'scalar', dtype: 'F32', shape: [], begin, end: begin + 4 },
    { name: '', dtype: 'F32', shape: [1], begin: begin + 4, end: begin + 8 },
    { name: 'half', dtype: 'F4', shape: [2], begin: begin + 8, end: begin + 9 },
  ]);
  expect([...metadata]).toEqual([['format', 'pt']]);
});

test('a header longer than the first read is read whole', async () => {
  const tensors = Array.from({ length: 9000 }, (_, index) => ({
    name: `model.layers.${index}.some_rather_long_name_of_a_weight`,
    dtype: 'U8',
    shape: [1],
    bytes: Uint8Array.of(index & 255),
  }));
  const file = safetensorsFile(tensors);
  expect(file.length).toBeGreaterThan(1 << 19);
  const { entries } = await readHeader(memorySource(new Map([['m.safetensors', file]])), 'm.safetensors');
  expect(entries).toHaveLength(9000);
  expect(entries.at(-1)!.end).toBe(file.length);
});

test('4,000 seeded mutations of a header are refused with the typed error, or describe the file exactly', async () => {
  const random = seededRandom(20);
  const clean = safetensorsFile(
    [
      { name: 'model.embed_tokens.weight', dtype: 'BF16', shape: [8, 4], bytes: seededBytes(64, 1) },
      { name: 'model.norm.weight', dtype: 'F32', shape: [4], bytes: seededBytes(16, 2) },
      { name: 'lm_head.weight', dtype: 'F16', shape: [8, 4], bytes: seededBytes(64, 3) },
    ],
    { format: 'pt' },
  );
  const headerEnd = clean.length - 144;
  const alphabet = text('0123456789-.eE+{}[]",: \\u\u0000\u00ff');
  const counts = { refused: 0, read: 0 };
  for (let round = 0; round < 4000; round++) {
    let file = clean.slice();
    const edits = 1 + Math.floor(random() * 3);
    for (let edit = 0; edit < edits; edit++) {
      const at = Math.floor(random() * headerEnd);
      const kind = random();
      if (kind < 0.4) file[at] = alphabet[Math.floor(random() * alphabet.length)]!;
      else if (kind < 0.6) file[at] = Math.floor(random() * 256);
      else if (kind < 0.8) file = file.slice(0, Math.floor(random() * file.length));
      else file = Uint8Array.from([...file.slice(0, at), ...file.slice(at + 1)]);
    }
    try {
      const { entries } = await readHeader(memorySource(new Map([['m.safetensors', file]])), 'm.safetensors');
      counts.read++;
      let covered = entries[0]?.begin ?? file.length;
      for (const { begin, end, shape } of entries) {
        expect(begin).toBe(covered);
        expect(shape.every((size) => Number.isSafeInteger(size) && size >= 0)).toBe(true);
        covered = end;
      }
      expect(covered).toBe(file.length);
    } catch (cause) {
      expect(cause).toBeInstanceOf(SafetensorsError);
      counts.refused++;
    }
  }
  expect(counts.refused).toBeGreaterThan(2000);
  expect(counts.read).toBeGreaterThan(50);
});
