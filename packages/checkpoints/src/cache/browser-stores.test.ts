import { afterEach, describe, expect, test, vi } from 'vitest';
import { seededBytes } from '../../test/write-safetensors.ts';
import { CacheStorageError } from '../errors.ts';
import type { BlobStore } from './blob-store.ts';
import { browserBlobStore } from './browser-blob-store.ts';
import { cacheApiBlobStore } from './cache-api.ts';
import { directoryBlobStore } from './directory.ts';

/** The parts of a directory handle that a store uses, with the browser's rule that a file appears when its writer is closed. */
function fakeDirectory(options: { quotaBytes?: number } = {}) {
  const files = new Map<string, Uint8Array>();
  const notFound = () => new DOMException('not found', 'NotFoundError');
  const handleOf = (name: string) => ({
    kind: 'file',
    getFile: async () => new File([files.get(name) as BlobPart], name, { lastModified: 1000 + files.size }),
    createWritable: async () => {
      let pending = new Uint8Array(0);
      return {
        write: async (bytes: Uint8Array) => {
          if (bytes.length > (options.quotaBytes ?? Infinity)) throw new DOMException('full', 'QuotaExceededError');
          pending = Uint8Array.from(bytes);
        },
        close: async () => void files.set(name, pending),
        abort: async () => {},
      };
    },
  });
  const handle = {
    getFileHandle: async (name: string, { create = false } = {}) => {
      if (!files.has(name) && !create) throw notFound();
      return handleOf(name);
    },
    removeEntry: async (name: string) => {
      if (!files.delete(name)) throw notFound();
    },
    async *entries() {
      for (const name of files.keys()) yield [name, handleOf(name)];
      yield ['a folder', { kind: 'directory' }];
    },
  };
  return { files, handle: handle as unknown as FileSystemDirectoryHandle };
}

function fakeCache(): Pick<Cache, 'match' | 'put' | 'delete' | 'keys'> {
  const entries = new Map<string, Response>();
  const url = (request: RequestInfo | URL): string => (request instanceof Request ? request.url : String(request));
  return {
    match: async (request) => entries.get(url(request))?.clone(),
    put: async (request, response) => void entries.set(url(request), response),
    delete: async (request) => entries.delete(url(request)),
    keys: async () => [...entries.keys()].map((key) => new Request(key)),
  };
}

const stores: [string, () => BlobStore][] = [
  ['a folder', () => directoryBlobStore(fakeDirectory().handle)],
  ['the Cache API', () => cacheApiBlobStore(fakeCache())],
];

describe.each(stores)('a store in %s', (_name, make) => {
  test('keeps, lists, replaces and removes blobs', async () => {
    const store = make();
    const bytes = seededBytes(5000, 1);
    expect(await store.read('a-1')).toBeUndefined();
    await store.remove('a-1');
    await store.write('a-1', bytes);
    await store.write('b-2', new Uint8Array(3));
    expect(await store.read('a-1')).toEqual(bytes);
    await store.write('a-1', bytes.slice(0, 10));
    expect(await store.read('a-1')).toEqual(bytes.slice(0, 10));
    const blobs = (await store.list()).map(({ key, bytes: size }) => [key, size]);
    expect(blobs.sort()).toEqual([
      ['a-1', 10],
      ['b-2', 3],
    ]);
    expect((await store.list()).every(({ writtenMs }) => writtenMs > 0)).toBe(true);
    await store.remove('a-1');
    expect(await store.read('a-1')).toBeUndefined();
  });
});

test('a write that the browser refuses leaves no file', async () => {
  const { handle, files } = fakeDirectory({ quotaBytes: 100 });
  const store = directoryBlobStore(handle);
  await expect(store.write('a', new Uint8Array(101))).rejects.toBeInstanceOf(CacheStorageError);
  expect(files.size).toBe(0);
});

describe('the best store of a browser', () => {
  afterEach(() => vi.unstubAllGlobals());

  test('is the private file system, else the Cache API, else a typed error', async () => {
    await expect(browserBlobStore()).rejects.toBeInstanceOf(CacheStorageError);
    const cache = fakeCache();
    vi.stubGlobal('caches', { open: async () => cache });
    const inCache = await browserBlobStore();
    await inCache.write('k', Uint8Array.of(1));
    expect(await cache.keys()).toHaveLength(1);
    const { handle, files } = fakeDirectory();
    const asked: string[] = [];
    const getDirectoryHandle = async (name: string) => {
      asked.push(name);
      return handle;
    };
    vi.stubGlobal(
      'FileSystemFileHandle',
      class {
        createWritable() {}
      },
    );
    vi.stubGlobal('navigator', { storage: { getDirectory: async () => ({ getDirectoryHandle }) } });
    const inFiles = await browserBlobStore('mine');
    await inFiles.write('k', Uint8Array.of(1));
    expect(files.size).toBe(1);
    expect(asked).toEqual(['mine']);
  });

  test('a browser that refuses its file system is a typed error with the reason', async () => {
    vi.stubGlobal('navigator', {
      storage: { getDirectory: () => Promise.reject(new DOMException('private window', 'SecurityError')) },
    });
    const failure = await browserBlobStore().catch((cause: unknown) => cause);
    expect(failure).toBeInstanceOf(CacheStorageError);
    expect((failure as Error).cause).toMatchObject({ name: 'SecurityError' });
  });
});
