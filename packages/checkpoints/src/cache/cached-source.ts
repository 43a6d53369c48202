import { ArgumentError } from '@forerun/tensor';
import { FileMissingError, NetworkError } from '../errors.ts';
import {
  checkRange,
  readRange,
  readWholeBySize,
  type ByteReader,
  type ByteSource,
  type ReadOptions,
} from '../sources/byte-source.ts';
import type { BlobStore } from './blob-store.ts';
import { BlockReader, type CachedFile } from './block-reader.ts';
import { evict } from './evict.ts';
import { seal, textKey, unseal } from './sealed.ts';

/** How a cache is kept. */
export interface CacheOptions {
  /** Files are stored in blocks of this many bytes. Default 16 MiB. */
  readonly blockBytes?: number;
  /** Most bytes in the store; beyond, what was written longest ago goes, but never what this source has written. Default: no limit. */
  readonly maxBytes?: number;
}

/** What a cache has done so far, in blocks. */
export interface CacheStatistics {
  /** Blocks that came from the store. */
  hits: number;
  /** Blocks that had to be fetched. */
  misses: number;
  /** Stored blocks that were damaged, and were removed. */
  dropped: number;
  /** Blocks that could not be stored, since the storage was full or failed; nothing is written after the first. */
  unstored: number;
}

/** A source whose files are kept in a store. */
export interface CachedSource extends ByteSource {
  readonly statistics: Readonly<CacheStatistics>;
  /** Removes what the store holds of this source. */
  clear(): Promise<void>;
}

interface FileFacts {
  readonly sizeBytes: number;
  readonly version: string | undefined;
}

/** Stored in place of a file's facts when the server does not have it. */
const missingFacts = 'missing';

/**
 * Keeps what is read from `source` in `store`, in blocks checked by length and SHA-256 whenever they are read: a damaged or cut block
 * is dropped and fetched again. A file that has changed on the server (another size or entity tag) is fetched anew, and its old blocks
 * go. Without a connection, files that are stored are served from the store.
 */
export function cachedSource(source: ByteSource, store: BlobStore, options: CacheOptions = {}): CachedSource {
  const { blockBytes = 16 << 20, maxBytes = Number.POSITIVE_INFINITY } = options;
  if (!Number.isSafeInteger(blockBytes) || blockBytes < 1024) {
    throw new ArgumentError(`Expected blockBytes to be an integer of at least 1024, got ${blockBytes}.`);
  }
  return new CachingSource(source, store, { blockBytes, maxBytes });
}

class CachingSource implements CachedSource {
  readonly statistics: CacheStatistics = { hits: 0, misses: 0, dropped: 0, unstored: 0 };
  readonly #source: ByteSource;
  readonly #store: BlobStore;
  readonly #limits: Required<CacheOptions>;
  readonly #facts = new Map<string, FileFacts>();
  readonly #sourceKey: Promise<string>;
  readonly #written = new Set<string>();
  #storedBytes: number | undefined;

  constructor(source: ByteSource, store: BlobStore, limits: Required<CacheOptions>) {
    this.#source = source;
    this.#store = store;
    this.#limits = limits;
    this.#sourceKey = textKey(source.describe());
  }

  describe(): string {
    return this.#source.describe();
  }

  async exists(path: string, options: ReadOptions = {}): Promise<boolean> {
    try {
      await this.#factsOf(path, options);
      return true;
    } catch (cause) {
      if (cause instanceof FileMissingError) return false;
      throw cause;
    }
  }

  async size(path: string, options: ReadOptions = {}): Promise<number> {
    return (await this.#factsOf(path, options)).sizeBytes;
  }

  async version(path: string, options: ReadOptions = {}): Promise<string | undefined> {
    return (await this.#factsOf(path, options)).version;
  }

  read(path: string, begin: number, end: number, options?: ReadOptions): Promise<Uint8Array> {
    return readRange(this, path, { begin, end }, options);
  }

  readWhole(path: string, options: ReadOptions & { maxBytes: number }): Promise<Uint8Array> {
    return readWholeBySize(this, path, options);
  }

  async open(path: string, begin: number, end: number, options: ReadOptions = {}): Promise<ByteReader> {
    const facts = await this.#factsOf(path, options);
    checkRange(`${this.describe()}/${path}`, begin, end, facts.sizeBytes);
    const prefix = `${await this.#fileKey(path)}-${await versionKey(facts, this.#limits.blockBytes)}`;
    const file: CachedFile = {
      source: this.#source,
      path,
      sizeBytes: facts.sizeBytes,
      blockBytes: this.#limits.blockBytes,
      load: (block, bytes) => this.#load(`${prefix}-${block}`, bytes),
      save: (block, payload) => this.#save(`${prefix}-${block}`, payload),
    };
    return new BlockReader(file, { begin, end, signal: options.signal });
  }

  async clear(): Promise<void> {
    const sourceKey = await this.#sourceKey;
    for (const { key } of await this.#store.list()) if (key.startsWith(`${sourceKey}-`)) await this.#store.remove(key);
    this.#facts.clear();
    this.#storedBytes = undefined;
  }

  async #load(key: string, bytes: number): Promise<Uint8Array | undefined> {
    const sealed = await this.#store.read(key).catch(() => undefined);
    const payload = sealed && (await unseal(key, sealed, bytes));
    if (sealed && !payload) {
      this.statistics.dropped++;
      await this.#store.remove(key).catch(() => {});
    }
    if (payload) this.statistics.hits++;
    else this.statistics.misses++;
    return payload;
  }

  async #save(key: string, payload: Uint8Array): Promise<void> {
    if (this.statistics.unstored > 0) return;
    try {
      const sealed = await seal(key, payload);
      const { maxBytes } = this.#limits;
      if (Number.isFinite(maxBytes)) {
        this.#storedBytes ??= (await this.#store.list()).reduce((sum, blob) => sum + blob.bytes, 0);
        if (this.#storedBytes + sealed.length > maxBytes) {
          this.#storedBytes = await evict(this.#store, {
            maxBytes: maxBytes - sealed.length,
            keep: (other) => this.#written.has(other),
          });
        }
        if (this.#storedBytes + sealed.length > maxBytes) {
          this.statistics.unstored++;
          return;
        }
        this.#storedBytes += sealed.length;
      }
      await this.#store.write(key, sealed);
      this.#written.add(key);
    } catch {
      // A full or failing storage costs the next visit a download, and this load nothing.
      this.statistics.unstored++;
    }
  }

  async #factsOf(path: string, options: ReadOptions): Promise<FileFacts> {
    const known = this.#facts.get(path);
    if (known) return known;
    const key = `${await this.#fileKey(path)}-facts`;
    let facts: FileFacts;
    try {
      facts = { sizeBytes: await this.#source.size(path, options), version: await this.#source.version(path, options) };
      await this.#forgetOthers(path, facts);
      await this.#save(key, new TextEncoder().encode(JSON.stringify(facts)));
    } catch (cause) {
      if (cause instanceof FileMissingError) await this.#save(key, new TextEncoder().encode(missingFacts));
      if (!(cause instanceof NetworkError)) throw cause;
      facts = await this.#storedFacts(key, path, cause);
    }
    this.#facts.set(path, facts);
    return facts;
  }

  /** What was known of the file when there was a connection. */
  async #storedFacts(key: string, path: string, offline: NetworkError): Promise<FileFacts> {
    const sealed = await this.#store.read(key).catch(() => undefined);
    const payload = sealed && (await unseal(key, sealed));
    if (!payload) throw offline;
    const text = new TextDecoder().decode(payload);
    if (text !== missingFacts) return JSON.parse(text) as FileFacts;
    throw new FileMissingError(`${this.describe()}/${path} did not exist when the server was last reached.`, {
      cause: offline,
    });
  }

  /** Removes blocks of another version of the file. */
  async #forgetOthers(path: string, facts: FileFacts): Promise<void> {
    const fileKey = await this.#fileKey(path);
    const current = `${fileKey}-${await versionKey(facts, this.#limits.blockBytes)}-`;
    const blobs = await this.#store.list().catch(() => []);
    for (const { key } of blobs) {
      if (!key.startsWith(`${fileKey}-`) || key.startsWith(current) || key === `${fileKey}-facts`) continue;
      await this.#store.remove(key).catch(() => {});
      this.#storedBytes = undefined;
    }
  }

  async #fileKey(path: string): Promise<string> {
    return `${await this.#sourceKey}-${await textKey(path)}`;
  }
}

function versionKey(facts: FileFacts, blockBytes: number): Promise<string> {
  return textKey(JSON.stringify([facts.sizeBytes, facts.version ?? null, blockBytes]));
}
