import { CacheStorageError } from '../errors.ts';
import type { BlobStore, StoredBlob } from './blob-store.ts';

/**
 * A store in a folder of the browser's file systems, a file a blob. A file is complete or absent: the browser puts it in place when
 * it is closed.
 *
 * @param folder - Usually a folder of the origin's private file system (OPFS), used for nothing else.
 */
export function directoryBlobStore(folder: FileSystemDirectoryHandle): BlobStore {
  const fileOf = async (key: string): Promise<File | undefined> => {
    try {
      return await (await folder.getFileHandle(key)).getFile();
    } catch (cause) {
      if ((cause as { name?: string }).name === 'NotFoundError') return undefined;
      throw new CacheStorageError(`The browser's file storage could not be read (${(cause as Error).message}).`, {
        cause,
      });
    }
  };
  return {
    read: async (key) => {
      const file = await fileOf(key);
      return file && new Uint8Array(await file.arrayBuffer());
    },
    write: async (key, bytes) => {
      const handle = await folder.getFileHandle(key, { create: true });
      const writable = await handle.createWritable();
      try {
        await writable.write(bytes as Uint8Array<ArrayBuffer>);
        await writable.close();
      } catch (cause) {
        await writable.abort().catch(() => {});
        await folder.removeEntry(key).catch(() => {});
        throw new CacheStorageError(`The browser's file storage took no more (${(cause as Error).message}).`, {
          cause,
        });
      }
    },
    remove: async (key) => {
      await folder.removeEntry(key).catch((cause: { name?: string }) => {
        if (cause.name !== 'NotFoundError') throw cause;
      });
    },
    list: async () => {
      const blobs: StoredBlob[] = [];
      for await (const [key, handle] of folder.entries()) {
        if (handle.kind !== 'file') continue;
        const file = await fileOf(key);
        if (file) blobs.push({ key, bytes: file.size, writtenMs: file.lastModified });
      }
      return blobs;
    },
  };
}
