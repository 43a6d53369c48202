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
} from '@forerun/checkpoints';
import { ArgumentError } from '@forerun/tensor';

/** A checkpoint that a package ships: the URL of its folder. */
export interface ShippedCheckpoint {
  readonly url: URL;
}

/**
 * Where a checkpoint is: the path of a folder (Node), an http(s) or file URL of a folder, the name of a Hub repository
 * (`owner/name`), files or a directory that a user picked in a browser, a checkpoint that a package ships, or a source
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
  const folder = localFolder(text);
  if (!repositoryName.test(text) || /^\.{1,2}\//.test(text)) return folder ?? folderSource(text);
  if (folder && (await folder.exists('config.json'))) return folder;
  const { revision, token } = options;
  const hub = hubSource(text, { ...(revision ? { revision } : {}), ...(token ? { token } : {}) });
  return kept(hub, options);
}

function sourceOfUrl(url: URL, options: SourceOptions): ByteSource | Promise<ByteSource> {
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
