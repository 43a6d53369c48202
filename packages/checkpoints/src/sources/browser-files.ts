import { ArgumentError } from '@forerun/tensor';
import { AccessError, FileChangedError, FileMissingError } from '../errors.ts';
import { checkRange, readRange, readWholeBySize, readerOf, type ByteSource } from './byte-source.ts';
import { pathSegments } from './path.ts';

/**
 * A checkpoint made of files that the user picked or dropped. A picked folder's own name is left out of the paths
 * (`webkitRelativePath` without its first segment).
 *
 * @throws ArgumentError when two files have the same path.
 */
export function filesSource(files: Iterable<File>): ByteSource {
  const byPath = new Map<string, File>();
  for (const file of files) {
    const relative = file.webkitRelativePath;
    const path = relative ? relative.slice(relative.indexOf('/') + 1) : file.name;
    if (byPath.has(path))
      throw new ArgumentError(`Two of the picked files are named "${path}". Pick one checkpoint's files only.`);
    byPath.set(path, file);
  }
  return blobSource('picked files', {
    find: async (path) => {
      pathSegments(path);
      return byPath.get(path);
    },
    list: async () => [...byPath.keys()].filter((path) => !path.includes('/')),
  });
}

/** A checkpoint in a folder that the user opened with `showDirectoryPicker`, or in the origin's private file system. */
export function directorySource(root: FileSystemDirectoryHandle): ByteSource {
  const find = async (path: string): Promise<File | undefined> => {
    const segments = pathSegments(path);
    const name = segments.pop()!;
    try {
      let folder = root;
      for (const segment of segments) folder = await folder.getDirectoryHandle(segment);
      return await (await folder.getFileHandle(name)).getFile();
    } catch (cause) {
      const kind = (cause as { name?: string }).name;
      if (kind === 'NotFoundError' || kind === 'TypeMismatchError') return undefined;
      throw new AccessError(
        `folder ${root.name}/${path} could not be opened. Allow access to the folder and open it again.`,
        {
          cause,
        },
      );
    }
  };
  const list = async (): Promise<string[]> => {
    const names: string[] = [];
    for await (const [name, handle] of root.entries()) if (handle.kind === 'file') names.push(name);
    return names;
  };
  return blobSource(`folder ${root.name}`, { find, list });
}

function blobSource(
  place: string,
  { find, list }: { find: (path: string) => Promise<File | undefined>; list: () => Promise<readonly string[]> },
): ByteSource {
  const fileOf = async (path: string): Promise<File> => {
    const file = await find(path);
    if (!file) throw new FileMissingError(`${place}/${path} does not exist. Pick the whole folder of the checkpoint.`);
    return file;
  };
  const source: ByteSource = {
    describe: () => place,
    list,
    exists: async (path) => (await find(path)) !== undefined,
    size: async (path) => (await fileOf(path)).size,
    version: async (path) => String((await fileOf(path)).lastModified),
    read: (path, begin, end, options) => readRange(source, path, { begin, end }, options),
    readWhole: (path, options) => readWholeBySize(source, path, options),
    open: async (path, begin, end, options) => {
      const file = await fileOf(path);
      const where = `${place}/${path}`;
      checkRange(where, begin, end, file.size);
      return readerOf(where, { begin, end, signal: options?.signal }, async (target, position) => {
        try {
          target.set(new Uint8Array(await file.slice(position, position + target.length).arrayBuffer()));
        } catch (cause) {
          throw new FileChangedError(`${where} changed or vanished while it was being read. Pick it again.`, { cause });
        }
      });
    },
  };
  return source;
}
