import { describe, expect, test } from 'vitest';
import { serveFiles } from '../../test/file-server.ts';
import { safetensorsFile, seededBytes, text } from '../../test/write-safetensors.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { AbortedError, FileMissingError, NetworkError } from '../errors.ts';
import type { ByteSource } from '../sources/byte-source.ts';
import { httpSource } from '../sources/http.ts';
import { memorySource } from '../sources/memory.ts';
import { memoryBlobStore, type BlobStore } from './blob-store.ts';
import { cachedSource } from './cached-source.ts';
import { evict } from './evict.ts';

const blockBytes = 1024;
const body = seededBytes(10_000, 1);

/** A source of one file that counts what is read of it, and whose file can change or vanish behind a broken connection. */
function remote() {
  const state = { body, version: '"one"' as string | undefined, offline: false, readBytes: 0, opened: 0 };
  const inner = () => memorySource(new Map([['a.bin', state.body]]));
  const online = async <T>(work: () => Promise<T>): Promise<T> => {
    if (state.offline) throw new NetworkError('remote could not be reached. Check the connection.');
    return work();
  };
  const source: ByteSource = {
    describe: () => 'https://example.org/model',
    exists: (path) => online(() => inner().exists(path)),
    size: (path) => online(() => inner().size(path)),
    version: () => online(async () => state.version),
    read: (path, begin, end) => online(() => inner().read(path, begin, end)),
    readWhole: (path, options) => online(() => inner().readWhole(path, options)),
    open: (path, begin, end, options) =>
      online(async () => {
        state.opened++;
        const reader = await inner().open(path, begin, end, options);
        return {
          read: async (target) => {
            state.readBytes += target.length;
            await reader.read(target);
          },
          close: () => reader.close(),
        };
      }),
  };
  return { source, state };
}

describe('a cached source', () => {
  test('fetches blocks once, and serves every range from them', async () => {
    const { source, state } = remote();
    const store = memoryBlobStore();
    const first = cachedSource(source, store, { blockBytes });
    expect(await first.read('a.bin', 1500, 4000)).toEqual(body.slice(1500, 4000));
    expect(state).toMatchObject({ readBytes: 3 * blockBytes, opened: 1 });
    const second = cachedSource(source, store, { blockBytes });
    for (const [begin, end] of [
      [1500, 4000],
      [1024, 1025],
      [0, 10_000],
      [9999, 10_000],
      [5, 5],
    ] as const) {
      expect(await second.read('a.bin', begin, end)).toEqual(body.slice(begin, end));
    }
    expect(state).toMatchObject({ readBytes: 10_000, opened: 3 });
    expect(second.statistics).toMatchObject({ dropped: 0, unstored: 0 });
    expect(await second.size('a.bin')).toBe(10_000);
    expect(await second.readWhole('a.bin', { maxBytes: 10_000 })).toEqual(body);
    expect(await second.exists('b.bin')).toBe(false);
  });

  test.each([
    [
      'a flipped bit',
      (sealed: Uint8Array) => sealed.map((byte, index) => (index === sealed.length - 1 ? byte ^ 1 : byte)),
    ],
    ['a cut blob', (sealed: Uint8Array) => sealed.slice(0, -7)],
    ['an empty blob', () => new Uint8Array(0)],
    ['a longer blob', (sealed: Uint8Array) => Uint8Array.from([...sealed, 0])],
    ['zeros', (sealed: Uint8Array) => new Uint8Array(sealed.length)],
    ['a damaged digest', (sealed: Uint8Array) => sealed.map((byte, index) => (index === 5 ? byte ^ 1 : byte))],
  ])('%s is dropped and fetched again', async (_name, damage) => {
    const { source, state } = remote();
    const store = memoryBlobStore();
    await cachedSource(source, store, { blockBytes }).read('a.bin', 0, body.length);
    for (const { key } of await store.list()) await store.write(key, damage((await store.read(key))!));
    state.readBytes = 0;
    const files = cachedSource(source, store, { blockBytes });
    expect(await files.read('a.bin', 0, body.length)).toEqual(body);
    expect(state.readBytes).toBe(body.length);
    expect(files.statistics).toMatchObject({ hits: 0, misses: 10, dropped: 10 });
    state.readBytes = 0;
    expect(await cachedSource(source, store, { blockBytes }).read('a.bin', 0, body.length)).toEqual(body);
    expect(state.readBytes).toBe(0);
  });

  test('blocks that were swapped with each other are dropped', async () => {
    const { source } = remote();
    const store = memoryBlobStore();
    await cachedSource(source, store, { blockBytes }).read('a.bin', 0, 2048);
    const [one, two] = (await store.list()).map(({ key }) => key).filter((key) => !key.endsWith('facts'));
    const [first, second] = [(await store.read(one!))!, (await store.read(two!))!];
    await store.write(one!, second);
    await store.write(two!, first);
    const files = cachedSource(source, store, { blockBytes });
    expect(await files.read('a.bin', 0, 2048)).toEqual(body.slice(0, 2048));
    expect(files.statistics.dropped).toBe(2);
  });

  test.each([
    ['entity tag', { version: '"two"', body: seededBytes(10_000, 2) }],
    ['size', { version: undefined, body: seededBytes(9000, 2) }],
  ])('a file of another %s is fetched anew, and the old blocks go', async (_name, change) => {
    const { source, state } = remote();
    const store = memoryBlobStore();
    await cachedSource(source, store, { blockBytes }).read('a.bin', 0, body.length);
    const before = (await store.list()).length;
    Object.assign(state, change);
    const files = cachedSource(source, store, { blockBytes });
    expect(await files.read('a.bin', 0, 5000)).toEqual(change.body.slice(0, 5000));
    expect((await store.list()).length).toBe(before - 5);
  });

  test('without a connection what is stored is served, absence included; the rest is a network error', async () => {
    const { source, state } = remote();
    const store = memoryBlobStore();
    const online = cachedSource(source, store, { blockBytes });
    await online.read('a.bin', 0, 4096);
    expect(await online.exists('generation_config.json')).toBe(false);
    state.offline = true;
    const offline = cachedSource(source, store, { blockBytes });
    expect(await offline.read('a.bin', 0, 4096)).toEqual(body.slice(0, 4096));
    expect(await offline.exists('generation_config.json')).toBe(false);
    await expect(offline.size('generation_config.json')).rejects.toBeInstanceOf(FileMissingError);
    await expect(offline.read('a.bin', 0, 8192)).rejects.toBeInstanceOf(NetworkError);
    await expect(offline.size('never-seen.json')).rejects.toBeInstanceOf(NetworkError);
  });

  test('a full store costs nothing but the next download', async () => {
    const { source } = remote();
    const full: BlobStore = {
      ...memoryBlobStore(),
      write: () => Promise.reject(new DOMException('full', 'QuotaExceededError')),
    };
    const files = cachedSource(source, full, { blockBytes });
    expect(await files.read('a.bin', 0, body.length)).toEqual(body);
    expect(files.statistics.unstored).toBe(1);
  });

  test('a store that fails to read is a miss', async () => {
    const { source } = remote();
    const broken: BlobStore = {
      ...memoryBlobStore(),
      read: () => Promise.reject(new Error('gone')),
      list: () => Promise.reject(new Error('gone')),
    };
    expect(await cachedSource(source, broken, { blockBytes }).read('a.bin', 3, 3000)).toEqual(body.slice(3, 3000));
  });

  test('a limit evicts what others wrote before, and never what is being written', async () => {
    const { source } = remote();
    const store = memoryBlobStore();
    for (let index = 0; index < 5; index++) await store.write(`other-${index}`, new Uint8Array(1000));
    const files = cachedSource(source, store, { blockBytes, maxBytes: 6000 });
    await files.read('a.bin', 0, body.length);
    const blobs = await store.list();
    expect(blobs.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(6000);
    expect(blobs.filter(({ key }) => key.startsWith('other')).length).toBe(0);
    expect(files.statistics.unstored).toBeGreaterThan(0);
  });

  test('evict removes the oldest first; clear removes this source alone', async () => {
    const blobs = [
      { key: 'new', bytes: 10, writtenMs: 3 },
      { key: 'old', bytes: 10, writtenMs: 1 },
      { key: 'middle', bytes: 10, writtenMs: 2 },
    ];
    const removed: string[] = [];
    const store: BlobStore = {
      ...memoryBlobStore(),
      list: async () => blobs.filter(({ key }) => !removed.includes(key)),
      remove: async (key) => void removed.push(key),
    };
    expect(await evict(store, { maxBytes: 15, keep: (key) => key === 'middle' })).toBe(10);
    expect(removed).toEqual(['old', 'new']);
    const { source } = remote();
    const shared = memoryBlobStore();
    await shared.write('other', new Uint8Array(1));
    const files = cachedSource(source, shared, { blockBytes });
    await files.read('a.bin', 0, 3000);
    await files.clear();
    expect((await shared.list()).map(({ key }) => key)).toEqual(['other']);
  });

  test('abort', async () => {
    const { source } = remote();
    const files = cachedSource(source, memoryBlobStore(), { blockBytes });
    await expect(files.read('a.bin', 0, 100, { signal: AbortSignal.abort() })).rejects.toBeInstanceOf(AbortedError);
  });
});

test('a checkpoint over HTTP: the second opening transfers no tensor', async () => {
  const bytes = seededBytes(60_000, 4);
  const file = safetensorsFile([{ name: 'a', dtype: 'BF16', shape: [300, 100], bytes }]);
  const server = await serveFiles(
    new Map([
      ['model.safetensors', file],
      ['config.json', text('{"a":1}')],
    ]),
  );
  try {
    const store = memoryBlobStore();
    for (const expectedTransfers of [1, 0]) {
      server.requests.length = 0;
      const checkpoint = await openCheckpoint(cachedSource(httpSource(server.url), store));
      expect(await checkpoint.config()).toEqual({ a: 1 });
      const got: number[] = [];
      for await (const slice of checkpoint.stream(['a'], { sliceBytes: 4096 })) got.push(...slice.bytes);
      expect(Uint8Array.from(got)).toEqual(bytes);
      const transfers = server.requests.filter(
        ({ path, range }) => path === 'model.safetensors' && range !== 'bytes=0-0',
      );
      expect(transfers.length).toBe(expectedTransfers);
    }
  } finally {
    await server.close();
  }
});
