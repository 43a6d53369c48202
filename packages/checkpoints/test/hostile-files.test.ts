import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ArgumentError, DTypeError, type ForerunError, ShapeError, Weight } from '@forerun/tensor';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ConfigFileError,
  FileChangedError,
  FileMissingError,
  PathError,
  SafetensorsError,
  ShardIndexError,
  TruncatedError,
  WeightNameError,
  cachedSource,
  folderSource,
  httpSource,
  hubSource,
  loadWeights,
  memoryBlobStore,
  memorySource,
  openCheckpoint,
  widen,
  type ByteSource,
  type Checkpoint,
} from '../src/index.ts';
import { safetensorsFile, seededBytes, text } from './write-safetensors.ts';

type ErrorClass = new (...parameters: never[]) => ForerunError;
type Row = [name: string, act: () => unknown, kind: ErrorClass, message: string];

const tensor = (name: string, dtype = 'F32', bytes = 16) => ({ name, dtype, shape: [4], bytes: seededBytes(bytes, 1) });
const files = (entries: Record<string, Uint8Array | string>): ByteSource =>
  memorySource(
    new Map(Object.entries(entries).map(([name, body]) => [name, typeof body === 'string' ? text(body) : body])),
  );
const indexed = (map: unknown, shards: Record<string, Uint8Array> = {}): ByteSource =>
  files({ 'model.safetensors.index.json': JSON.stringify({ weight_map: map }), ...shards });
const shard = (...names: string[]): Uint8Array => safetensorsFile(names.map((name) => tensor(name)));
const openIndexed = (map: unknown, shards?: Record<string, Uint8Array>) => () => openCheckpoint(indexed(map, shards));
const small = (): Promise<Checkpoint> =>
  openCheckpoint(
    files({
      'model.safetensors': safetensorsFile([
        { name: 'model.layers.0.self_attn.q_proj.weight', dtype: 'F32', shape: [2, 2], bytes: seededBytes(16, 1) },
        { name: 'model.layers.0.mlp.experts', dtype: 'F8_E4M3', shape: [4], bytes: seededBytes(4, 1) },
        tensor('model.norm.weight'),
      ]),
      'config.json': '[1]',
    }),
  );
const discard = { write: async () => {}, finish: async () => {} };

async function check(act: () => unknown, kind: ErrorClass, message: string): Promise<void> {
  let failure: unknown;
  try {
    await act();
  } catch (cause) {
    failure = cause;
  }
  expect(failure).toBeInstanceOf(kind);
  expect((failure as Error).constructor).toBe(kind);
  expect((failure as Error).message).toContain(message);
}

const indexTable: Row[] = [
  [
    'index that is not JSON',
    () => openCheckpoint(files({ 'model.safetensors.index.json': '{' })),
    ShardIndexError,
    'not valid JSON',
  ],
  [
    'index without weight_map',
    () => openCheckpoint(files({ 'model.safetensors.index.json': '{}' })),
    ShardIndexError,
    'expected an object "weight_map"',
  ],
  ['index of an array', openIndexed(['a.safetensors']), ShardIndexError, 'expected an object "weight_map"'],
  ['empty index', openIndexed({}), ShardIndexError, 'expected an object "weight_map"'],
  ['file that is a number', openIndexed({ a: 1 }), ShardIndexError, 'is not a string'],
  [
    'a tensor listed twice',
    () =>
      openCheckpoint(
        files({ 'model.safetensors.index.json': '{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}' }),
      ),
    ShardIndexError,
    'given twice',
  ],
  ['shard name with ..', openIndexed({ a: '../x.safetensors' }), ShardIndexError, 'segment ".."'],
  ['shard name with .. inside', openIndexed({ a: 'sub/../../x.safetensors' }), ShardIndexError, 'segment ".."'],
  ['shard name with a backslash', openIndexed({ a: '..\\x.safetensors' }), ShardIndexError, 'backslash'],
  ['absolute shard name', openIndexed({ a: '/etc/x.safetensors' }), ShardIndexError, 'absolute path'],
  ['shard name with a drive', openIndexed({ a: 'C:x.safetensors' }), ShardIndexError, 'colon'],
  ['shard on another host', openIndexed({ a: 'https://example.org/x.safetensors' }), ShardIndexError, 'colon'],
  [
    'shard on another host, no scheme',
    openIndexed({ a: '//example.org/x.safetensors' }),
    ShardIndexError,
    'absolute path',
  ],
  ['shard name with a zero byte', openIndexed({ a: 'x\u0000.safetensors' }), ShardIndexError, 'control characters'],
  ['shard name with an empty segment', openIndexed({ a: 'x//y.safetensors' }), ShardIndexError, 'empty segment'],
  ['empty shard name', openIndexed({ a: '' }), ShardIndexError, 'Expected a file name'],
  ['shard name of 5,000 letters', openIndexed({ a: 'x'.repeat(5000) }), ShardIndexError, 'longer than 1024'],
  [
    'shard that is no safetensors file',
    openIndexed({ a: 'pytorch_model.bin' }),
    ShardIndexError,
    'not named *.safetensors',
  ],
  ['missing shard', openIndexed({ a: 'x.safetensors' }), ShardIndexError, 'x.safetensors, which does not exist'],
  [
    'damaged shard',
    openIndexed({ a: 'x.safetensors' }, { 'x.safetensors': text('oops oops') }),
    SafetensorsError,
    'x.safetensors',
  ],
  [
    'tensor not in its shard',
    openIndexed({ a: 'x.safetensors', b: 'x.safetensors' }, { 'x.safetensors': shard('a') }),
    ShardIndexError,
    'in the index but not in their shard: b',
  ],
  [
    'tensor not in the index',
    openIndexed({ a: 'x.safetensors' }, { 'x.safetensors': shard('a', 'b') }),
    ShardIndexError,
    'in a shard but not listed for it: b',
  ],
  [
    'tensor in two shards',
    openIndexed(
      { a: 'x.safetensors', b: 'y.safetensors' },
      { 'x.safetensors': shard('a'), 'y.safetensors': shard('a', 'b') },
    ),
    ShardIndexError,
    'not listed for it: a (y.safetensors)',
  ],
];

const contentTable: Row[] = [
  [
    'no weights at all',
    () => openCheckpoint(files({ 'config.json': '{}' })),
    FileMissingError,
    'neither model.safetensors nor',
  ],
  [
    'named file missing',
    () => openCheckpoint(files({}), { file: 'ema.safetensors' }),
    FileMissingError,
    'ema.safetensors does not exist',
  ],
  [
    'named file above the folder',
    () => openCheckpoint(files({}), { file: '../m.safetensors' }),
    PathError,
    'segment ".."',
  ],
  ['unknown weight format', () => openCheckpoint(files({}), { weights: 'q5' as never }), ArgumentError, 'got "q5"'],
  [
    'config that is an array',
    async () => (await small()).config(),
    ConfigFileError,
    'expected a JSON object, got an array',
  ],
  [
    'config missing',
    async () => (await openCheckpoint(files({ 'model.safetensors': shard('a') }))).config(),
    FileMissingError,
    'config.json',
  ],
  [
    'config that is not JSON',
    async () => (await openCheckpoint(files({ 'model.safetensors': shard('a'), 'config.json': 'None' }))).config(),
    ConfigFileError,
    'expected JSON',
  ],
  [
    'config that is not UTF-8',
    async () =>
      (await openCheckpoint(files({ 'model.safetensors': shard('a'), 'config.json': Uint8Array.of(0xff) }))).config(),
    ConfigFileError,
    'expected UTF-8',
  ],
  [
    'config of 17 MiB',
    async () =>
      (
        await openCheckpoint(files({ 'model.safetensors': shard('a'), 'config.json': new Uint8Array(17 << 20) }))
      ).config(),
    ArgumentError,
    'at most 16777216 bytes',
  ],
  [
    'generation config that is text',
    async () =>
      (
        await openCheckpoint(files({ 'model.safetensors': shard('a'), 'generation_config.json': '"x"' }))
      ).generationConfig(),
    ConfigFileError,
    'got string',
  ],
  [
    'weight of another shape',
    async () => (await small()).weights().at('model').at('norm').tensor('weight', [5]),
    ShapeError,
    'the model expects [5], the checkpoint has [4]',
  ],
  [
    'weight of another rank',
    async () => (await small()).weights().at('model').at('norm').tensor('weight', [2, 2]),
    ShapeError,
    'has [4]',
  ],
  [
    'weight of a dtype that is not read',
    async () => (await small()).weights().tensor('model.layers.0.mlp.experts', [4]),
    DTypeError,
    'stored as F8_E4M3',
  ],
  [
    'weight of a dtype that is not read, loaded',
    async () =>
      loadWeights(
        await small(),
        [new Weight({ name: 'model.layers.0.mlp.experts', shape: [4], format: 'f32' })],
        discard,
      ),
    DTypeError,
    'F8_E4M3',
  ],
  [
    'weight missing',
    async () => {
      const w = (await small()).weights();
      w.tensor('model.layer.0.self_attn.q_proj.weight', [2, 2]);
      w.finish();
    },
    WeightNameError,
    'model.layer.0.self_attn.q_proj.weight (nearest: model.layers.0.self_attn.q_proj.weight',
  ],
  [
    'weights unread',
    async () => (await small()).weights().finish(),
    WeightNameError,
    'never read: model.layers.0.self_attn.q_proj.weight',
  ],
  [
    'stream of an unknown name',
    async () => (await small()).stream(['model.norm.wieght']).next(),
    WeightNameError,
    'Nearest: model.norm.weight',
  ],
  [
    'load of an unknown name',
    async () => loadWeights(await small(), [new Weight({ name: 'x', shape: [1], format: 'f32' })], discard),
    WeightNameError,
    'no tensor "x"',
  ],
  [
    'load of another shape',
    async () =>
      loadWeights(await small(), [new Weight({ name: 'model.norm.weight', shape: [3], format: 'f32' })], discard),
    ShapeError,
    'declared as [3]',
  ],
  [
    'slices of 0 bytes',
    async () => (await small()).stream([], { sliceBytes: 0 }).next(),
    ArgumentError,
    'sliceBytes between',
  ],
  [
    'slices of 1 GiB',
    async () => (await small()).stream([], { sliceBytes: 1 << 30 }).next(),
    ArgumentError,
    'sliceBytes between',
  ],
  [
    'slices of NaN bytes',
    async () => (await small()).stream([], { sliceBytes: Number.NaN }).next(),
    ArgumentError,
    'got NaN',
  ],
  ['range in reverse', () => files({ a: 'abcd' }).read('a', 3, 1), ArgumentError, '0 <= begin <= end'],
  ['range past the end', () => files({ a: 'abcd' }).read('a', 0, 5), TruncatedError, 'only 4 bytes'],
  ['range that is no integer', () => files({ a: 'abcd' }).read('a', 0, Number.NaN), ArgumentError, 'got 0 to NaN'],
  ['URL that is relative', () => httpSource('model/'), ArgumentError, 'absolute http(s) URL'],
  ['URL of a file', () => httpSource('file:///etc/'), ArgumentError, 'got one of "file:"'],
  ['Hub repository that is a path', () => hubSource('../../etc'), ArgumentError, 'Hub repository'],
  ['Hub repository that is a URL', () => hubSource('https://example.org/x'), ArgumentError, 'Hub repository'],
  ['Hub revision with ..', () => hubSource('a/b', { revision: '../c' }), ArgumentError, 'branch, tag or commit'],
  [
    'cache of tiny blocks',
    () => cachedSource(files({}), memoryBlobStore(), { blockBytes: 10 }),
    ArgumentError,
    'at least 1024',
  ],
  ['half an element', () => widen('BF16', new Uint8Array(3)), ArgumentError, 'whole elements of 2 bytes'],
];

describe('sharded index', () => {
  test.each(indexTable)('%s', (_name, act, kind, message) => check(act, kind, message));
});

describe('contents and arguments', () => {
  test.each(contentTable)('%s', (_name, act, kind, message) => check(act, kind, message));
});

describe('folder', () => {
  let home: string;
  let folder: string;
  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'forerun-folder-'));
    folder = join(home, 'model');
    await mkdir(join(folder, 'inside'), { recursive: true });
    await writeFile(join(home, 'secret.safetensors'), shard('a'));
    await writeFile(join(folder, 'inside', 'real.safetensors'), shard('a'));
    await symlink(join(home, 'secret.safetensors'), join(folder, 'escape.safetensors'));
    await symlink(home, join(folder, 'up'));
    await symlink('inside/real.safetensors', join(folder, 'within.safetensors'));
    await symlink('loop.safetensors', join(folder, 'loop.safetensors'));
    await symlink('nowhere.safetensors', join(folder, 'dangling.safetensors'));
    await mkdir(`${folder}-sibling`);
    await writeFile(join(`${folder}-sibling`, 'x.safetensors'), shard('a'));
    await symlink(join(`${folder}-sibling`, 'x.safetensors'), join(folder, 'sibling.safetensors'));
    execFileSync('mkfifo', [join(folder, 'pipe.safetensors')]);
  });
  afterAll(() => rm(home, { recursive: true }));

  const open = (file: string) => () => openCheckpoint(folderSource(folder), { file });
  const table: Row[] = [
    ['path above the folder', open('../secret.safetensors'), PathError, 'segment ".."'],
    ['absolute path', open('/etc/passwd.safetensors'), PathError, 'absolute path'],
    ['symbolic link that leaves the folder', open('escape.safetensors'), PathError, 'leaves the folder'],
    ['symbolic link of a folder that leaves', open('up/secret.safetensors'), PathError, 'leaves the folder'],
    ['symbolic link into a folder of a longer name', open('sibling.safetensors'), PathError, 'leaves the folder'],
    ['symbolic link to itself', open('loop.safetensors'), PathError, 'leads to itself'],
    ['symbolic link to nothing', open('dangling.safetensors'), FileMissingError, 'does not exist'],
    ['a pipe, which would block', open('pipe.safetensors'), PathError, 'not a regular file'],
    ['a folder in place of a file', open('inside'), PathError, 'not a regular file'],
    ['a missing file', open('x.safetensors'), FileMissingError, 'does not exist'],
    [
      'a missing folder',
      () => openCheckpoint(folderSource(join(home, 'no-such-folder'))),
      FileMissingError,
      'neither model.safetensors',
    ],
  ];
  test.each(table)('%s', (_name, act, kind, message) => check(act, kind, message));

  test('links that stay inside, or lead where they may, are followed', async () => {
    expect((await openCheckpoint(folderSource(folder), { file: 'within.safetensors' })).tensors.size).toBe(1);
    const linked = folderSource(folder, { linksInto: [home] });
    expect((await openCheckpoint(linked, { file: 'escape.safetensors' })).tensors.size).toBe(1);
  });

  test("a snapshot in the Hub's cache reads its blobs, and nothing beside them", async () => {
    const repository = join(home, 'models--own--er');
    const snapshot = join(repository, 'snapshots', 'abc');
    await mkdir(snapshot, { recursive: true });
    await mkdir(join(repository, 'blobs'));
    await writeFile(join(repository, 'blobs', '123'), shard('a'));
    await symlink('../../blobs/123', join(snapshot, 'model.safetensors'));
    await symlink('../../../secret.safetensors', join(snapshot, 'secret.safetensors'));
    expect((await openCheckpoint(folderSource(snapshot))).tensors.size).toBe(1);
    await check(
      () => openCheckpoint(folderSource(snapshot), { file: 'secret.safetensors' }),
      PathError,
      'leaves the folder',
    );
  });

  test('a file that is replaced between opening and reading is noticed', async () => {
    const file = join(folder, 'model.safetensors');
    await writeFile(file, shard('a', 'b'));
    const checkpoint = await openCheckpoint(folderSource(folder));
    await writeFile(file, shard('b', 'a'));
    await utimes(file, 1, 1);
    await check(() => checkpoint.stream(['a']).next(), FileChangedError, 'changed after the checkpoint was opened');
  });
});
