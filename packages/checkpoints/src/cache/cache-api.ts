import type { BlobStore, StoredBlob } from './blob-store.ts';

/** Requests never leave the page: the host is reserved, and only the cache is asked. */
const address = 'https://blobs.invalid/';

/**
 * A store in the browser's Cache API, for browsers whose file storage cannot be written from a page.
 *
 * @param cache - As from `caches.open(name)`, used for nothing else.
 */
export function cacheApiBlobStore(cache: Pick<Cache, 'match' | 'put' | 'delete' | 'keys'>): BlobStore {
  return {
    read: async (key) => {
      const response = await cache.match(address + key);
      return response && new Uint8Array(await response.arrayBuffer());
    },
    write: async (key, bytes) => {
      const headers = { 'content-length': String(bytes.length), 'x-written-ms': String(Date.now()) };
      await cache.put(address + key, new Response(bytes as Uint8Array<ArrayBuffer>, { headers }));
    },
    remove: async (key) => {
      await cache.delete(address + key);
    },
    list: async () => {
      const blobs: StoredBlob[] = [];
      for (const request of await cache.keys()) {
        const headers = (await cache.match(request))?.headers;
        if (!headers) continue;
        blobs.push({
          key: request.url.slice(address.length),
          bytes: Number(headers.get('content-length') ?? 0),
          writtenMs: Number(headers.get('x-written-ms') ?? 0),
        });
      }
      return blobs;
    },
  };
}
