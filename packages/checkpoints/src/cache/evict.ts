import type { BlobStore } from './blob-store.ts';

/**
 * Removes what was written longest ago until at most `maxBytes` are stored; 0 empties the store.
 *
 * @param options.keep - Keys that are not removed.
 * @returns Bytes that are still stored.
 */
export async function evict(
  store: BlobStore,
  options: { maxBytes: number; keep?: (key: string) => boolean },
): Promise<number> {
  const blobs = (await store.list()).sort((a, b) => a.writtenMs - b.writtenMs || (a.key < b.key ? -1 : 1));
  let storedBytes = blobs.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { key, bytes } of blobs) {
    if (storedBytes <= options.maxBytes) break;
    if (options.keep?.(key)) continue;
    await store.remove(key);
    storedBytes -= bytes;
  }
  return storedBytes;
}
