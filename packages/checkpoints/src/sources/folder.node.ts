import { open, readdir, realpath, stat, type FileHandle } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { AccessError, FileMissingError, PathError, TruncatedError, throwIfAborted } from '../errors.ts';
import { checkRange, readRange, readWholeBySize, type ByteReader, type ByteSource } from './byte-source.ts';
import type { FolderOptions } from './folder.browser.ts';
import { pathSegments } from './path.ts';

/** A revision in the Hub's own cache on disk, whose files are links into the `blobs` folder beside `snapshots`. */
const hubSnapshot = /[\\/](?:models|datasets|spaces)--[^\\/]+[\\/]snapshots[\\/][^\\/]+$/;

const missingCodes = new Set(['ENOENT', 'ENOTDIR']);

/**
 * A checkpoint in a local folder (Node). No path leaves the folder, also not by a symbolic link, unless the link's target lies in
 * one of `linksInto`; a snapshot in the Hub's own cache may link into the `blobs` folder that belongs to it.
 */
export function folderSource(folder: string, options: FolderOptions = {}): ByteSource {
  const place = resolve(folder);
  const blobs = hubSnapshot.test(place) ? [join(place, '..', '..', 'blobs')] : [];
  const homes = [place, ...blobs, ...(options.linksInto ?? [])];
  const whole = (path: string): string => `${place}/${path}`;

  /** The file's real path and facts; undefined when there is no such file. */
  const find = async (path: string): Promise<{ file: string; sizeBytes: number; modifiedMs: number } | undefined> => {
    const segments = pathSegments(path);
    try {
      const file = await realpath(join(place, ...segments));
      const allowed = await Promise.all(homes.map((home) => realpath(home).catch(() => home)));
      if (!allowed.some((home) => file.startsWith(home.endsWith(sep) ? home : home + sep))) {
        throw new PathError(
          `${whole(path)} is a symbolic link that leaves the folder (to ${file}). Copy the file, or name its folder in linksInto.`,
        );
      }
      const facts = await stat(file);
      // Opening a pipe or a device would wait forever, so only regular files count.
      if (!facts.isFile()) throw new PathError(`${whole(path)} is not a regular file.`);
      return { file, sizeBytes: facts.size, modifiedMs: facts.mtimeMs };
    } catch (cause) {
      if (missingCodes.has((cause as NodeJS.ErrnoException).code ?? '')) return undefined;
      throw accessError(whole(path), cause);
    }
  };
  const found = async (path: string) => {
    const facts = await find(path);
    if (!facts)
      throw new FileMissingError(`${whole(path)} does not exist. Check the folder, or download the checkpoint again.`);
    return facts;
  };

  const source: ByteSource = {
    describe: () => place,
    list: async () => {
      const entries = await readdir(place, { withFileTypes: true }).catch((cause: unknown) => {
        if (missingCodes.has((cause as NodeJS.ErrnoException).code ?? '')) return [];
        throw accessError(place, cause);
      });
      return entries.filter((entry) => entry.isFile() || entry.isSymbolicLink()).map(({ name }) => name);
    },
    exists: async (path) => (await find(path)) !== undefined,
    size: async (path) => (await found(path)).sizeBytes,
    version: async (path) => String((await found(path)).modifiedMs),
    read: (path, begin, end, readOptions) => readRange(source, path, { begin, end }, readOptions),
    readWhole: (path, readOptions) => readWholeBySize(source, path, readOptions),
    open: async (path, begin, end, readOptions) => {
      const { file, sizeBytes } = await found(path);
      checkRange(whole(path), begin, end, sizeBytes);
      throwIfAborted(readOptions?.signal, `opening ${whole(path)}`);
      const handle = await open(file, 'r').catch((cause: unknown) => {
        throw accessError(whole(path), cause);
      });
      return fileReader(handle, whole(path), { begin, end, signal: readOptions?.signal });
    },
  };
  return source;
}

function fileReader(
  handle: FileHandle,
  where: string,
  range: { begin: number; end: number; signal: AbortSignal | undefined },
): ByteReader {
  let position = range.begin;
  let closing: Promise<void> | undefined;
  return {
    async read(target) {
      checkRange(where, position, position + target.length, range.end);
      let filled = 0;
      while (filled < target.length) {
        throwIfAborted(range.signal, `reading ${where}`);
        const { bytesRead } = await handle.read(target, filled, Math.min(target.length - filled, 8 << 20), position);
        if (bytesRead === 0) {
          throw new TruncatedError(
            `${where} ended at byte ${position}, expected ${range.end}. It was cut while being read.`,
          );
        }
        filled += bytesRead;
        position += bytesRead;
      }
    },
    close: () => (closing ??= handle.close()),
  };
}

function accessError(where: string, cause: unknown): unknown {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === undefined || cause instanceof PathError) return cause;
  if (code === 'ELOOP') return new PathError(`${where} is a symbolic link that leads to itself.`, { cause });
  return new AccessError(`${where} could not be opened (${code}). Check its permissions.`, { cause });
}
