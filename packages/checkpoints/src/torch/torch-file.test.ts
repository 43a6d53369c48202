import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../checkpoint/open.ts';
import { TorchFileError } from '../errors.ts';
import { memorySource } from '../sources/memory.ts';

const text = (value: string): number[] => [...new TextEncoder().encode(value)];
const u16 = (value: number): number[] => [value & 255, (value >> 8) & 255];
const u32 = (value: number): number[] => [...u16(value & 0xffff), ...u16(value >>> 16)];

interface ZipFile {
  readonly name: string;
  readonly bytes: readonly number[];
  readonly method?: number;
  readonly claimedBytes?: number;
}

/** A zip archive of stored files. */
function zip(files: readonly ZipFile[]): Uint8Array {
  const out: number[] = [];
  const directory: number[] = [];
  for (const { name, bytes, method = 0, claimedBytes = bytes.length } of files) {
    const common = [...u16(method), ...u16(0), ...u16(0), ...u32(0), ...u32(claimedBytes), ...u32(claimedBytes)];
    const offset = out.length;
    out.push(...u32(0x04034b50), ...u16(20), ...u16(0), ...common, ...u16(name.length), ...u16(3), ...text(name));
    out.push(0, 0, 0, ...bytes);
    directory.push(...u32(0x02014b50), ...u16(20), ...u16(20), ...u16(0), ...common, ...u16(name.length));
    directory.push(...u16(0), ...u16(0), ...u16(0), ...u16(0), ...u32(0), ...u32(offset), ...text(name));
  }
  const begin = out.length;
  out.push(...directory, ...u32(0x06054b50), ...u16(0), ...u16(0), ...u16(files.length), ...u16(files.length));
  out.push(...u32(directory.length), ...u32(begin), ...u16(0));
  return Uint8Array.from(out);
}

const unicode = (value: string): number[] => [0x58, ...u32(text(value).length), ...text(value)];
const global = (name: string): number[] => [0x63, ...text(name.replace(/\.([^.]*)$/, '\n$1\n'))];
const int = (value: number): number[] => [0x4a, ...u32(value)];
const tuple = (...items: readonly number[][]): number[] => [0x28, ...items.flat(), 0x74];
const emptyTuple = 0x29;
const reduce = 0x52;

interface Described {
  readonly type?: string;
  readonly key?: string;
  readonly offset?: number;
  readonly shape?: readonly number[];
  readonly strides?: readonly number[];
}

function tensor({
  type = 'torch.FloatStorage',
  key = '0',
  offset = 0,
  shape = [2, 3],
  strides = [3, 1],
}: Described): number[] {
  const storage = [...tuple(unicode('storage'), global(type), unicode(key), unicode('cpu'), int(6)), 0x51];
  const hooks = [...global('collections.OrderedDict'), emptyTuple, reduce];
  const args = tuple(storage, int(offset), tuple(...shape.map(int)), tuple(...strides.map(int)), [0x89], hooks);
  return [...global('torch._utils._rebuild_tensor_v2'), ...args, reduce];
}

const dictionary = (...pairs: readonly (readonly [string, number[]])[]): number[] => [
  0x80,
  2,
  ...global('collections.OrderedDict'),
  emptyTuple,
  reduce,
  0x28,
  ...pairs.flatMap(([name, value]) => [...unicode(name), ...value]),
  0x75,
  0x2e,
];

const storage = [...new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer)];

function open(pickle: readonly number[], more: readonly ZipFile[] = [{ name: 'archive/data/0', bytes: storage }]) {
  const bytes = zip([{ name: 'archive/data.pkl', bytes: pickle }, ...more]);
  return openCheckpoint(memorySource(new Map([['heads.pt', bytes]])), { file: 'heads.pt' });
}

async function values(pickle: readonly number[], name: string): Promise<number[]> {
  const checkpoint = await open(pickle);
  const { begin, end, file } = checkpoint.tensors.get(name)!;
  return [...new Float32Array((await checkpoint.source.read(file, begin, end)).slice().buffer)];
}

describe('a PyTorch file', () => {
  test('gives its tensors, views of one storage and parameters among them', async () => {
    const parameter = [
      ...global('torch._utils._rebuild_parameter'),
      ...tuple(tensor({ offset: 4, shape: [2], strides: [1] }), [0x88], [0x4e]),
      reduce,
    ];
    const pickle = dictionary(['0.weight', tensor({})], ['0.bias', parameter]);
    expect(await values(pickle, '0.weight')).toEqual([1, 2, 3, 4, 5, 6]);
    expect(await values(pickle, '0.bias')).toEqual([5, 6]);
    const { tensors } = await open(pickle);
    expect(tensors.get('0.weight')).toMatchObject({ dtype: 'F32', shape: [2, 3] });
  });

  test('streams its weights as a safetensors file does', async () => {
    const checkpoint = await open(dictionary(['w', tensor({})]));
    const slices: number[] = [];
    for await (const { bytes } of checkpoint.stream(['w'])) slices.push(...new Float32Array(bytes.slice().buffer));
    expect(slices).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('takes the name of a prototype for a name like any other', async () => {
    const pickle = [0x80, 2, 0x7d, ...unicode('__proto__'), ...tensor({}), 0x73, 0x2e];
    expect([...(await open(pickle)).tensors.keys()]).toEqual(['__proto__']);
  });

  const code = (name: string) => [...global(name), ...tuple(unicode('echo')), reduce];
  test.each<[string, readonly number[], RegExp]>([
    ['code', dictionary(['w', code('posix.system')]), /names posix\.system/],
    ['code by stack', [0x80, 4, ...unicode('os'), ...unicode('system'), 0x93, 0x2e], /names os\.system/],
    ['an object', dictionary(['w', [...global('torch.FloatStorage'), emptyTuple, 0x81]]), /0x81 builds objects/],
    ['an instance', [0x28, 0x69, ...text('os\nsystem\n'), 0x2e], /0x69 builds objects/],
    ['a call of a type', dictionary(['w', [...global('torch.FloatStorage'), emptyTuple, reduce]]), /is no function/],
    ['something else than tensors', dictionary(['epoch', int(3)]), /"epoch" is not a tensor/],
    ['no mapping', [0x80, 2, ...int(1), 0x2e], /mapping of names/],
    ['a view', dictionary(['w', tensor({ strides: [1, 2] })]), /not contiguous/],
    ['more than its storage', dictionary(['w', tensor({ shape: [3, 3] })]), /byte 36 of a storage of 24/],
    ['an offset past it', dictionary(['w', tensor({ offset: 1 })]), /byte 28 of a storage of 24/],
    ['a negative size', dictionary(['w', tensor({ shape: [-1, 3] })]), /sizes/],
    ['huge sizes', dictionary(['w', tensor({ shape: [2 ** 31 - 1, 2 ** 31 - 1], strides: [2 ** 31 - 1, 1] })]), /more/],
    ['another rank', dictionary(['w', tensor({ strides: [1] })]), /ranks/],
    ['another file', dictionary(['w', tensor({ key: '../data.pkl' })]), /storage is named/],
    ['a missing file', dictionary(['w', tensor({ key: '7' })]), /no file "archive\/data\/7"/],
    ['an unknown type', dictionary(['w', tensor({ type: 'torch.QInt8Storage' })]), /torch\.QInt8Storage/],
    ['a cut-off pickle', dictionary(['w', tensor({})]).slice(0, -9), /cut off|stack/],
    ['an empty pickle', [], /cut off/],
    ['a memo entry that is not there', [0x68, 9, 0x2e], /memo/],
  ])('with %s is refused', async (_, pickle, message) => {
    const failure: unknown = await open(pickle).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(TorchFileError);
    expect((failure as Error).message).toMatch(message);
    expect((failure as Error).message).toMatch(/Convert it|Download/);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ['no archive', Uint8Array.from(dictionary(['w', tensor({})])), /zip archive/],
    [
      'two pickles',
      zip([
        { name: 'a/data.pkl', bytes: [] },
        { name: 'b/data.pkl', bytes: [] },
      ]),
      /found 2/,
    ],
    ['a compressed file', zip([{ name: 'a/data.pkl', bytes: [1], method: 8 }]), /compressed/],
    ['sizes past its end', zip([{ name: 'a/data.pkl', bytes: [1], claimedBytes: 1 << 20 }]), /the file has/],
    [
      'a directory past its end',
      zip([{ name: 'a/data.pkl', bytes: [1] }]).slice(20),
      /named, the file has|missing|cut/,
    ],
    [
      'another byte order',
      zip([
        { name: 'a/data.pkl', bytes: dictionary() },
        { name: 'a/byteorder', bytes: text('big') },
      ]),
      /byte order/,
    ],
  ])('that is %s', async (_, bytes, message) => {
    const opened = openCheckpoint(memorySource(new Map([['x.bin', bytes]])), { file: 'x.bin' });
    const failure: unknown = await opened.catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(TorchFileError);
    expect((failure as Error).message).toMatch(message);
  });

  test('cut off or changed at any byte it is refused or gives tensors inside the file', async () => {
    const whole = zip([
      { name: 'archive/data.pkl', bytes: dictionary(['w', tensor({})]) },
      { name: 'archive/data/0', bytes: storage },
    ]);
    for (let at = 0; at < whole.length; at++) {
      for (const damaged of [whole.slice(0, at), whole.with(at, 255), whole.with(at, whole[at]! ^ 1)]) {
        const opened = openCheckpoint(memorySource(new Map([['x.pt', damaged]])), { file: 'x.pt' });
        const result = await opened.catch((error: unknown) => error);
        if (result instanceof TorchFileError) continue;
        for (const { begin, end } of (result as Awaited<typeof opened>).tensors.values()) {
          expect(begin).toBeLessThanOrEqual(end);
          expect(end).toBeLessThanOrEqual(damaged.length);
        }
      }
    }
  });
});
