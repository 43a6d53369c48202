import { ArgumentError } from '@forerun/tensor';
import { describe, expect, test } from 'vitest';
import { safetensorsFile, seededBytes, text } from '../../test/write-safetensors.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { AbortedError, AccessError, FileChangedError, FileMissingError, PathError, TruncatedError } from '../errors.ts';
import { directorySource, filesSource } from './browser-files.ts';
import { folderSource } from './folder.browser.ts';

const bytes = seededBytes(40_000, 1);
const model = safetensorsFile([{ name: 'a', dtype: 'F32', shape: [100, 100], bytes }]);
const file = (name: string, body: Uint8Array | string, relative?: string): File => {
  const made = new File([body as BlobPart], name, { lastModified: 5 });
  if (relative !== undefined) Object.defineProperty(made, 'webkitRelativePath', { value: relative });
  return made;
};

function directory(entries: Record<string, File | Record<string, File>>, name = 'model'): FileSystemDirectoryHandle {
  const missing = () => new DOMException('missing', 'NotFoundError');
  return {
    name,
    getFileHandle: async (entry: string) => {
      const found = entries[entry];
      if (!found) throw missing();
      if (!(found instanceof File)) throw new DOMException('a folder', 'TypeMismatchError');
      return { getFile: async () => found };
    },
    getDirectoryHandle: async (entry: string) => {
      const found = entries[entry];
      if (!found || found instanceof File) throw missing();
      return directory(found, entry);
    },
  } as unknown as FileSystemDirectoryHandle;
}

describe('picked files', () => {
  test('a checkpoint, with or without the folder in front', async () => {
    for (const files of [
      [file('model.safetensors', model), file('config.json', '{"x":1}')],
      [
        file('model.safetensors', model, 'my model/model.safetensors'),
        file('config.json', '{"x":1}', 'my model/config.json'),
      ],
    ]) {
      const checkpoint = await openCheckpoint(filesSource(files));
      expect(await checkpoint.config()).toEqual({ x: 1 });
      expect(await checkpoint.generationConfig()).toBeUndefined();
      const got: number[] = [];
      for await (const slice of checkpoint.stream(['a'], { sliceBytes: 8192 })) got.push(...slice.bytes);
      expect(Uint8Array.from(got)).toEqual(bytes);
    }
  });

  test('files in folders below, versions, and what is refused', async () => {
    const source = filesSource([file('x.json', '{}', 'm/sub/x.json')]);
    expect(await source.exists('sub/x.json')).toBe(true);
    expect(await source.version('sub/x.json')).toBe('5');
    await expect(source.size('x.json')).rejects.toBeInstanceOf(FileMissingError);
    await expect(source.size('../x.json')).rejects.toBeInstanceOf(PathError);
    await expect(source.read('sub/x.json', 0, 3)).rejects.toBeInstanceOf(TruncatedError);
    await expect(source.read('sub/x.json', 0, 2, { signal: AbortSignal.abort() })).rejects.toBeInstanceOf(AbortedError);
    expect(() => filesSource([file('a', ''), file('a', '')])).toThrow(ArgumentError);
  });

  test('a file that changes on disk after it was picked', async () => {
    const stale = file('a.bin', text('abcd'));
    stale.slice = () =>
      ({ arrayBuffer: () => Promise.reject(new DOMException('changed', 'NotReadableError')) }) as unknown as Blob;
    await expect(filesSource([stale]).read('a.bin', 0, 4)).rejects.toBeInstanceOf(FileChangedError);
  });
});

describe('an opened folder', () => {
  test('files by path; folders and missing files are absent', async () => {
    const source = directorySource(
      directory({ 'model.safetensors': file('model.safetensors', model), sub: { 'x.json': file('x.json', '{}') } }),
    );
    expect((await openCheckpoint(source)).tensors.get('a')).toMatchObject({ shape: [100, 100] });
    expect(await source.size('sub/x.json')).toBe(2);
    expect(await source.exists('sub')).toBe(false);
    expect(await source.exists('none/x.json')).toBe(false);
    await expect(source.size('sub/../model.safetensors')).rejects.toBeInstanceOf(PathError);
  });

  test('a folder that the user no longer allows', async () => {
    const refused = { name: 'm', getFileHandle: () => Promise.reject(new DOMException('no', 'NotAllowedError')) };
    await expect(directorySource(refused as unknown as FileSystemDirectoryHandle).exists('a')).rejects.toBeInstanceOf(
      AccessError,
    );
  });
});

test('outside of Node a folder by path is an argument error', () => {
  expect(() => folderSource('/models/llama')).toThrow(ArgumentError);
});
