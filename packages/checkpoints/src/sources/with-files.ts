import { checkRange, readRange, readWholeBySize, readerOf, type ByteSource } from './byte-source.ts';

/** A place with some files put before its own; each is made when it is first asked for. */
export function withFiles(source: ByteSource, files: ReadonlyMap<string, () => Uint8Array>): ByteSource {
  const made = new Map<string, Uint8Array>();
  const own = (path: string): Uint8Array | undefined => {
    const make = files.get(path);
    if (!make) return undefined;
    const bytes = made.get(path) ?? make();
    made.set(path, bytes);
    return bytes;
  };
  const layered: ByteSource = {
    describe: () => source.describe(),
    ...(source.list ? { list: (options) => source.list!(options) } : {}),
    exists: async (path, options) => files.has(path) || source.exists(path, options),
    size: async (path, options) => own(path)?.length ?? source.size(path, options),
    version: async (path, options) => (files.has(path) ? undefined : source.version(path, options)),
    read: (path, begin, end, options) => readRange(layered, path, { begin, end }, options),
    readWhole: (path, options) => readWholeBySize(layered, path, options),
    open: async (path, begin, end, options) => {
      const bytes = own(path);
      if (!bytes) return source.open(path, begin, end, options);
      const where = `${source.describe()}/${path}`;
      checkRange(where, begin, end, bytes.length);
      return readerOf(where, { begin, end, signal: options?.signal }, (target, position) =>
        target.set(bytes.subarray(position, position + target.length)),
      );
    },
  };
  return layered;
}
