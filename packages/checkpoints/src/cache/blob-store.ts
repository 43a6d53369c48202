/** One stored blob. */
export interface StoredBlob {
  readonly key: string;
  readonly bytes: number;
  /** When it was written, in milliseconds since 1970. */
  readonly writtenMs: number;
}

/** Storage for pieces of downloaded files, by key. Keys are letters, digits and `-`. What is stored may vanish or be damaged at any time. */
export interface BlobStore {
  /** The stored bytes; undefined when there are none. */
  read(key: string): Promise<Uint8Array | undefined>;
  /** Stores bytes under a key, in place of what was there. Fails when the storage is full or gone. */
  write(key: string, bytes: Uint8Array): Promise<void>;
  /** Removes a key; nothing happens when it is not there. */
  remove(key: string): Promise<void>;
  /** What is stored. */
  list(): Promise<StoredBlob[]>;
}

/** A store that lives as long as the process; for tests, and where a browser gives no storage. */
export function memoryBlobStore(): BlobStore {
  const blobs = new Map<string, { bytes: Uint8Array; writtenMs: number }>();
  return {
    read: async (key) => blobs.get(key)?.bytes.slice(),
    write: async (key, bytes) => {
      blobs.set(key, { bytes: bytes.slice(), writtenMs: Date.now() });
    },
    remove: async (key) => {
      blobs.delete(key);
    },
    list: async () => [...blobs].map(([key, { bytes, writtenMs }]) => ({ key, bytes: bytes.length, writtenMs })),
  };
}
