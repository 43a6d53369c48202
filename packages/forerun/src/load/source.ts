import type { ByteSource } from '@forerun/checkpoints';
import {
  browserBlobStore,
  cachedSource,
  CacheStorageError,
  directorySource,
  filesSource,
  folderSource,
  httpSource,
  hubSource,
  singleFileSource,
} from '@forerun/checkpoints';
import { ArgumentError } from '@forerun/tensor';

/** A checkpoint that a package ships: the URL of its folder. */
export interface ShippedCheckpoint {
  readonly url: URL;
}

/**
 * Where a checkpoint is: the path of a folder or a GGUF file (Node), an http(s) or file URL of one, the name of a Hub repository
 * (`owner/name`) or of a GGUF file in one (`owner/name/file.gguf`), files or a directory that a user picked in a browser, a checkpoint that a package ships, or a source
 * of one's own.
 */
export type ModelSource = string | URL | ShippedCheckpoint | Iterable<File> | FileSystemDirectoryHandle | ByteSource;

/** How a source is reached. */
export interface SourceOptions {
  /** Hub repositories: branch, tag or commit; `main` by default. */
  readonly revision?: string | undefined;
  /** Hub repositories: access token. Sent to the Hub only. */
  readonly token?: string | undefined;
  /** Browsers: keep what is downloaded in the origin's storage, for the next visit. True by default. */
  readonly keepDownloads?: boolean | undefined;
}

const repositoryName = /^[\w.-]+\/[\w.-]+$/;
const repositoryFile = /^([\w.-]+\/[\w.-]+)\/(.+\.gguf)$/i;
const ggufPath = /^(.*[\\/])?([^\\/]+\.gguf)$/i;

/**
 * Finds what holds the files of a checkpoint. A name such as `owner/name` is a folder if there is one of that path, else
 * a Hub repository.
 *
 * @throws {@link ArgumentError} for something that names no place.
 */
export async function openSource(source: ModelSource, options: SourceOptions = {}): Promise<ByteSource> {
  if (typeof source === 'string') return sourceOfText(source.trim(), options);
  if (source instanceof URL) return sourceOfUrl(source, options);
  if (typeof source === 'object' && source !== null) {
    if ('readWhole' in source) return source;
    if ('url' in source && source.url instanceof URL) return sourceOfUrl(source.url, options);
    if ('getFileHandle' in source) return directorySource(source);
    if (Symbol.iterator in source) return filesSource(source);
  }
  throw new ArgumentError(
    `A model is loaded from a folder, a URL, a Hub repository ("owner/name") or picked files, got ${typeof source}.`,
  );
}

async function sourceOfText(text: string, options: SourceOptions): Promise<ByteSource> {
  if (text === '') {
    throw new ArgumentError('The model has no name: give a folder, a URL or a Hub repository such as "owner/name".');
  }
  if (/^(?:https?|file):/i.test(text)) return sourceOfUrl(new URL(text), options);
  const file = await sourceOfFile(text, options);
  if (file) return file;
  const folder = localFolder(text);
  if (!repositoryName.test(text) || /^\.{1,2}\//.test(text)) return folder ?? folderSource(text);
  if (folder && (await folder.exists('config.json'))) return folder;
  return hub(text, options);
}

/** A GGUF file that is named by its path, or in a Hub repository; undefined for a text that names no such file. */
async function sourceOfFile(text: string, options: SourceOptions): Promise<ByteSource | undefined> {
  const [, folder = '', name] = ggufPath.exec(text) ?? [];
  if (name === undefined) return undefined;
  const beside = localFolder(folder === '' ? '.' : folder);
  const [, repository, path] = repositoryFile.exec(text) ?? [];
  const elsewhere = repository === undefined || path === undefined || /^\.{1,2}\//.test(text);
  if (beside && (elsewhere || (await beside.exists(name)))) return singleFileSource(beside, name);
  if (elsewhere) return singleFileSource(folderSource(folder), name);
  return singleFileSource(await hub(repository, options), path);
}

function hub(repository: string, options: SourceOptions): Promise<ByteSource> {
  const { revision, token } = options;
  const source = hubSource(repository, { ...(revision ? { revision } : {}), ...(token ? { token } : {}) });
  return kept(source, options);
}

async function sourceOfUrl(url: URL, options: SourceOptions): Promise<ByteSource> {
  const [, name] = /\/([^/]+\.gguf)$/i.exec(url.pathname) ?? [];
  if (name !== undefined) {
    return singleFileSource(await sourceOfUrl(new URL('.', url), options), decodeURIComponent(name));
  }
  if (url.protocol !== 'file:') return kept(httpSource(url), options);
  return folderSource(decodeURIComponent(url.pathname).replace(/^\/([A-Za-z]:)/, '$1'));
}

/** The folder of that path; undefined where paths mean nothing. */
function localFolder(path: string): ByteSource | undefined {
  try {
    return folderSource(path);
  } catch {
    return undefined;
  }
}

/** Downloads are kept where the browser has storage for them. */
async function kept(source: ByteSource, { keepDownloads = true }: SourceOptions): Promise<ByteSource> {
  if (!keepDownloads) return source;
  try {
    return cachedSource(source, await browserBlobStore());
  } catch (cause) {
    if (cause instanceof CacheStorageError) return source;
    throw cause;
  }
}
