import { FileMissingError } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';

/**
 * One file of a place, which is a checkpoint by itself: a GGUF file. The files beside it are not seen.
 *
 * @param path - Where the file lies within `source`.
 */
export function singleFileSource(source: ByteSource, path: string): ByteSource {
  const check = (asked: string): string => {
    if (asked === path) return asked;
    throw new FileMissingError(`${source.describe()}/${asked} does not belong to ${path}, which was opened alone.`);
  };
  return {
    describe: () => `${source.describe()}/${path}`,
    list: async () => [path],
    exists: async (asked, options) => asked === path && source.exists(path, options),
    size: async (asked, options) => source.size(check(asked), options),
    version: async (asked, options) => source.version(check(asked), options),
    read: async (asked, begin, end, options) => source.read(check(asked), begin, end, options),
    readWhole: async (asked, options) => source.readWhole(check(asked), options),
    open: async (asked, begin, end, options) => source.open(check(asked), begin, end, options),
  };
}
