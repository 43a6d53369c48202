import { ArgumentError } from '@forerun/tensor';
import type { ByteSource } from './byte-source.ts';

/** How a folder is read. */
export interface FolderOptions {
  /** Further folders that symbolic links inside may lead into, such as the `blobs` folder of a Hub cache. */
  readonly linksInto?: readonly string[];
}

/** There are no folders by path outside of Node. */
export function folderSource(folder: string, _options: FolderOptions = {}): ByteSource {
  throw new ArgumentError(
    `Folder "${folder}" cannot be read here: paths are for Node. In a browser use filesSource, directorySource or httpSource.`,
  );
}
