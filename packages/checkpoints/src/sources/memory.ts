import { FileMissingError } from '../errors.ts';
import { checkRange, readRange, readWholeBySize, readerOf, type ByteSource } from './byte-source.ts';
import { pathSegments } from './path.ts';

/**
 * A checkpoint held in memory: file name to bytes. For tests, and for small checkpoints that a bundle carries.
 *
 * @param files - Bytes by relative path. They are read in place, not copied.
 */
export function memorySource(files: ReadonlyMap<string, Uint8Array>): ByteSource {
  const bytesOf = (path: string): Uint8Array => {
    pathSegments(path);
    const bytes = files.get(path);
    if (!bytes)
      throw new FileMissingError(`memory/${path} does not exist; there are: ${[...files.keys()].join(', ')}.`);
    return bytes;
  };
  const source: ByteSource = {
    describe: () => 'memory',
    list: async () => [...files.keys()].filter((path) => !path.includes('/')),
    exists: async (path) => {
      pathSegments(path);
      return files.has(path);
    },
    size: async (path) => bytesOf(path).length,
    version: async () => undefined,
    read: (path, begin, end, options) => readRange(source, path, { begin, end }, options),
    readWhole: (path, options) => readWholeBySize(source, path, options),
    open: async (path, begin, end, options) => {
      const bytes = bytesOf(path);
      const where = `memory/${path}`;
      checkRange(where, begin, end, bytes.length);
      return readerOf(where, { begin, end, signal: options?.signal }, (target, position) =>
        target.set(bytes.subarray(position, position + target.length)),
      );
    },
  };
  return source;
}
