import { ArgumentError } from '@forerun/tensor';
import { TruncatedError, throwIfAborted } from '../errors.ts';

/** What every reading call accepts. */
export interface ReadOptions {
  /** Stops the call with an `AbortedError`. */
  readonly signal?: AbortSignal | undefined;
}

/** Reads one byte range of a file in order, into buffers of the caller, so that host memory does not grow with the range. */
export interface ByteReader {
  /**
   * Fills `target` completely with the next bytes of the range. One call at a time.
   *
   * @throws TruncatedError when the file ends first; AbortedError when the signal given at opening fires.
   */
  read(target: Uint8Array): Promise<void>;
  /** Releases the file or connection; may be called more than once. */
  close(): Promise<void>;
}

/**
 * A place that holds the files of a checkpoint: a folder, a URL prefix, a Hub repository, files picked in a browser, memory.
 *
 * Paths are relative, with `/` between folders; anything else is a `PathError`. Ranges are half open, in bytes.
 * A file that is not there is a `FileMissingError`.
 */
export interface ByteSource {
  /** Names of the files at the top, where the place can list them. */
  list?(options?: ReadOptions): Promise<readonly string[]>;
  /** Names the place in messages, and is the key of its files in a cache; holds no secret. */
  describe(): string;
  /** Whether the file is there. Being refused access is an error, not `false`. */
  exists(path: string, options?: ReadOptions): Promise<boolean>;
  /** Size of the file in bytes. */
  size(path: string, options?: ReadOptions): Promise<number>;
  /** Something that changes when the file's content does (an entity tag, a modification time), where the place knows it. */
  version(path: string, options?: ReadOptions): Promise<string | undefined>;
  /** The bytes `begin <= i < end` of the file, in memory of their own. */
  read(path: string, begin: number, end: number, options?: ReadOptions): Promise<Uint8Array>;
  /** The whole of a small file. A file of more than `maxBytes` is an error before it is held in memory. */
  readWhole(path: string, options: ReadOptions & { maxBytes: number }): Promise<Uint8Array>;
  /** Opens the range `begin <= i < end` for reading in order; for ranges too big to hold. */
  open(path: string, begin: number, end: number, options?: ReadOptions): Promise<ByteReader>;
}

/** Checks a half-open byte range, against the file's size where it is known. */
export function checkRange(where: string, begin: number, end: number, sizeBytes = Number.MAX_SAFE_INTEGER): void {
  if (!Number.isSafeInteger(begin) || !Number.isSafeInteger(end) || begin < 0 || end < begin) {
    throw new ArgumentError(`${where}: a byte range needs integers 0 <= begin <= end, got ${begin} to ${end}.`);
  }
  if (end > sizeBytes) {
    throw new TruncatedError(
      `${where}: bytes ${begin} to ${end} were expected, but the file has only ${sizeBytes} bytes. Download it again.`,
    );
  }
}

/** `read` of a source, by its `open`. */
export async function readRange(
  source: ByteSource,
  path: string,
  range: { begin: number; end: number },
  options: ReadOptions = {},
): Promise<Uint8Array> {
  const { begin, end } = range;
  checkRange(`${source.describe()}/${path}`, begin, end);
  throwIfAborted(options.signal, `reading ${path}`);
  const reader = await source.open(path, begin, end, options);
  try {
    const bytes = new Uint8Array(end - begin);
    await reader.read(bytes);
    return bytes;
  } finally {
    await reader.close();
  }
}

/** `readWhole` of a source, by its `size` and `read`. */
export async function readWholeBySize(
  source: ByteSource,
  path: string,
  options: ReadOptions & { maxBytes: number },
): Promise<Uint8Array> {
  const bytes = await source.size(path, options);
  checkWholeSize(`${source.describe()}/${path}`, bytes, options.maxBytes);
  return source.read(path, 0, bytes, options);
}

/** Refuses a file that is too big to be read in one piece. */
export function checkWholeSize(where: string, bytes: number, maxBytes: number): void {
  if (bytes <= maxBytes) return;
  throw new ArgumentError(
    `${where}: expected a file of at most ${maxBytes} bytes, got ${bytes} bytes. This is not the file that it is named as.`,
  );
}

/** A reader over bytes that a function fetches on demand, piece by piece; for sources whose handles need no closing. */
export function readerOf(
  where: string,
  range: { begin: number; end: number; signal?: AbortSignal | undefined },
  fill: (target: Uint8Array, position: number) => Promise<void> | void,
): ByteReader {
  let position = range.begin;
  return {
    async read(target) {
      throwIfAborted(range.signal, `reading ${where}`);
      checkRange(where, position, position + target.length, range.end);
      await fill(target, position);
      throwIfAborted(range.signal, `reading ${where}`);
      position += target.length;
    },
    async close() {},
  };
}
