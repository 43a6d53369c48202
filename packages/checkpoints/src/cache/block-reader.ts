import { throwIfAborted } from '../errors.ts';
import { checkRange, type ByteReader, type ByteSource } from '../sources/byte-source.ts';

/** A file that is read through stored blocks. */
export interface CachedFile {
  readonly source: ByteSource;
  readonly path: string;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  /** A stored block of `bytes` bytes; undefined when it is not stored or damaged. */
  load(block: number, bytes: number): Promise<Uint8Array | undefined>;
  /** Stores a block; never fails. */
  save(block: number, payload: Uint8Array): Promise<void>;
}

/** Reads a range block by block: from the store, else from the source, which is read on in order as long as blocks are missing. */
export class BlockReader implements ByteReader {
  readonly #file: CachedFile;
  readonly #signal: AbortSignal | undefined;
  readonly #end: number;
  #position: number;
  #current: { block: number; bytes: Uint8Array } | undefined;
  #upstream: { block: number; reader: ByteReader } | undefined;

  constructor(file: CachedFile, range: { begin: number; end: number; signal: AbortSignal | undefined }) {
    this.#file = file;
    this.#position = range.begin;
    this.#end = range.end;
    this.#signal = range.signal;
  }

  async read(target: Uint8Array): Promise<void> {
    const { path, blockBytes } = this.#file;
    checkRange(path, this.#position, this.#position + target.length, this.#end);
    let filled = 0;
    while (filled < target.length) {
      throwIfAborted(this.#signal, `reading ${path}`);
      const block = Math.floor(this.#position / blockBytes);
      const bytes = await this.#block(block);
      const within = this.#position - block * blockBytes;
      const piece = bytes.subarray(within, within + target.length - filled);
      target.set(piece, filled);
      filled += piece.length;
      this.#position += piece.length;
    }
    if (this.#position === this.#end) await this.close();
  }

  async close(): Promise<void> {
    await this.#upstream?.reader.close();
    this.#upstream = undefined;
    this.#current = undefined;
  }

  async #block(block: number): Promise<Uint8Array> {
    if (this.#current?.block === block) return this.#current.bytes;
    const { blockBytes, sizeBytes } = this.#file;
    const length = Math.min(blockBytes, sizeBytes - block * blockBytes);
    const bytes = (await this.#file.load(block, length)) ?? (await this.#fetch(block, length));
    this.#current = { block, bytes };
    return bytes;
  }

  async #fetch(block: number, length: number): Promise<Uint8Array> {
    const { source, path, blockBytes, sizeBytes } = this.#file;
    if (this.#upstream?.block !== block) {
      await this.#upstream?.reader.close();
      const lastBlock = Math.ceil(this.#end / blockBytes);
      const end = Math.min(sizeBytes, lastBlock * blockBytes);
      this.#upstream = undefined;
      const reader = await source.open(path, block * blockBytes, end, { signal: this.#signal });
      this.#upstream = { block, reader };
    }
    const bytes = new Uint8Array(length);
    await this.#upstream.reader.read(bytes);
    this.#upstream.block = block + 1;
    await this.#file.save(block, bytes);
    return bytes;
  }
}
