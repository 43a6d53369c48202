import { CacheStorageError } from '../errors.ts';
import type { BlobStore } from './blob-store.ts';
import { cacheApiBlobStore } from './cache-api.ts';
import { directoryBlobStore } from './directory.ts';

/**
 * The best store that this browser has: a folder of the origin's private file system, else the Cache API.
 *
 * @param name - Name of the folder or cache.
 * @throws CacheStorageError where there is neither (Node, private windows of some browsers); load without a cache then.
 */
export async function browserBlobStore(name = 'forerun-checkpoints'): Promise<BlobStore> {
  let refusal: unknown;
  try {
    const root = await globalThis.navigator?.storage?.getDirectory?.();
    if (root && 'createWritable' in FileSystemFileHandle.prototype) {
      return directoryBlobStore(await root.getDirectoryHandle(name, { create: true }));
    }
    if (globalThis.caches) return cacheApiBlobStore(await globalThis.caches.open(name));
  } catch (cause) {
    refusal = cause;
  }
  throw new CacheStorageError(
    'There is no storage for downloaded files here: neither a private file system nor the Cache API. Load without a cache.',
    { cause: refusal },
  );
}
