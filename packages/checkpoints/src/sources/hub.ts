import { ArgumentError } from '@forerun/tensor';
import type { ByteSource } from './byte-source.ts';
import { HttpSource } from './http.ts';
import { httpSettings, type HttpOptions } from './http-request.ts';

/** Which repository of the Hugging Face Hub, and how to ask for it. */
export interface HubOptions extends HttpOptions {
  /** Branch, tag or commit. A commit makes sure that the files never change. Default `main`. */
  readonly revision?: string;
  /** Access token, for private and gated repositories. Sent to `endpoint` only. */
  readonly token?: string;
  /** Address of the Hub or of a mirror. Default `https://huggingface.co`. */
  readonly endpoint?: string;
}

/**
 * A checkpoint in a repository of the Hugging Face Hub: files at `{endpoint}/{repository}/resolve/{revision}/{file}`.
 *
 * @param repository - `owner/name`.
 * @throws ArgumentError when the repository or the revision is no such name.
 * @see https://huggingface.co/docs/hub/models-downloading
 */
export function hubSource(repository: string, options: HubOptions = {}): ByteSource {
  const { revision = 'main', token, endpoint = 'https://huggingface.co' } = options;
  if (!/^[\w.-]+(?:\/[\w.-]+)?$/.test(repository) || /(?:^|\/)\.{1,2}(?:\/|$)/.test(repository)) {
    throw new ArgumentError(`Expected a Hub repository such as "owner/name", got ${JSON.stringify(repository)}.`);
  }
  if (
    !/^[\w.\-/]+$/.test(revision) ||
    revision.split('/').some((part) => part === '' || part === '.' || part === '..')
  ) {
    throw new ArgumentError(`Expected a branch, tag or commit as revision, got ${JSON.stringify(revision)}.`);
  }
  const settings = httpSettings(options);
  const headers = token === undefined ? settings.headers : { ...settings.headers, authorization: `Bearer ${token}` };
  const base = new URL(`${endpoint.replace(/\/+$/, '')}/${repository}/resolve/${encodeURIComponent(revision)}/`);
  return new HttpSource(base, `${base.origin}/${repository}@${revision}`, { ...settings, headers });
}
