import { ArgumentError } from '@forerun/tensor';
import { FileMissingError, NetworkError, throwIfAborted } from '../errors.ts';
import { checkRange, checkWholeSize, readRange, type ByteSource, type ReadOptions } from './byte-source.ts';
import { entityTag, HttpReader } from './http-reader.ts';
import {
  TransientFailure,
  httpSettings,
  request,
  withRetries,
  type HttpOptions,
  type HttpSettings,
} from './http-request.ts';
import { pathSegments } from './path.ts';

interface FileFacts {
  readonly sizeBytes: number;
  readonly version: string | undefined;
  readonly tag: string | undefined;
}

/**
 * A checkpoint under a URL prefix: the file `model.safetensors` of `https://example.org/model` is
 * `https://example.org/model/model.safetensors`. Reads byte ranges; of a server that ignores them it reads the file in order and
 * passes over what it does not want. A query in the prefix is kept for every file.
 *
 * @throws ArgumentError when `prefix` is no absolute http(s) URL.
 */
export function httpSource(prefix: string | URL, options: HttpOptions = {}): ByteSource {
  const base = parsePrefix(prefix);
  return new HttpSource(base, `${base.origin}${base.pathname.replace(/\/$/, '')}`, httpSettings(options));
}

/** The source behind `httpSource` and `hubSource`. */
export class HttpSource implements ByteSource {
  readonly #base: URL;
  readonly #name: string;
  readonly #settings: HttpSettings;
  readonly #facts = new Map<string, FileFacts>();

  constructor(base: URL, name: string, settings: HttpSettings) {
    this.#base = base;
    this.#name = name;
    this.#settings = settings;
  }

  describe(): string {
    return this.#name;
  }

  async exists(path: string, options: ReadOptions = {}): Promise<boolean> {
    try {
      await this.#factsOf(path, options.signal);
      return true;
    } catch (cause) {
      if (cause instanceof FileMissingError) return false;
      throw cause;
    }
  }

  async size(path: string, options: ReadOptions = {}): Promise<number> {
    return (await this.#factsOf(path, options.signal)).sizeBytes;
  }

  async version(path: string, options: ReadOptions = {}): Promise<string | undefined> {
    return (await this.#factsOf(path, options.signal)).version;
  }

  read(path: string, begin: number, end: number, options?: ReadOptions): Promise<Uint8Array> {
    return readRange(this, path, { begin, end }, options);
  }

  async readWhole(path: string, options: ReadOptions & { maxBytes: number }): Promise<Uint8Array> {
    const { url, shownUrl } = this.#locate(path);
    return withRetries(this.#settings, options.signal, async () => {
      const open = await request(url, shownUrl, this.#settings, { signal: options.signal });
      try {
        const plain = (open.response.headers.get('content-encoding') ?? 'identity') === 'identity';
        const declared = plain ? open.response.headers.get('content-length') : null;
        if (declared !== null) checkWholeSize(shownUrl, Number(declared), options.maxBytes);
        const pieces: Uint8Array[] = [];
        let bytes = 0;
        for (let piece = await open.next(); piece; piece = await open.next()) {
          pieces.push(piece);
          bytes += piece.length;
          checkWholeSize(shownUrl, bytes, options.maxBytes);
        }
        if (declared !== null && bytes !== Number(declared)) {
          throw new TransientFailure(
            new NetworkError(`${shownUrl} sent ${bytes} bytes, but had announced ${declared}.`),
          );
        }
        return joined(pieces, bytes);
      } finally {
        open.cancel();
      }
    });
  }

  async open(path: string, begin: number, end: number, options: ReadOptions = {}): Promise<HttpReader> {
    const { url, shownUrl } = this.#locate(path);
    const known = this.#facts.get(path);
    checkRange(shownUrl, begin, end, known?.sizeBytes);
    throwIfAborted(options.signal, `opening ${shownUrl}`);
    const file = {
      url,
      shownUrl,
      settings: this.#settings,
      tag: known?.tag,
      onChanged: () => this.#facts.delete(path),
    };
    return new HttpReader(file, { begin, end, signal: options.signal });
  }

  #locate(path: string): { url: string; shownUrl: string } {
    const url = new URL(this.#base);
    url.pathname += pathSegments(path).map(encodeURIComponent).join('/');
    return { url: url.href, shownUrl: `${url.origin}${url.pathname}` };
  }

  /** Asks for the first byte: unlike HEAD, a range is never compressed, and redirects to signed addresses accept it. */
  async #factsOf(path: string, signal: AbortSignal | undefined): Promise<FileFacts> {
    const known = this.#facts.get(path);
    if (known) return known;
    const { url, shownUrl } = this.#locate(path);
    const facts = await withRetries(this.#settings, signal, async () => {
      const probe = await request(url, shownUrl, this.#settings, { headers: { range: 'bytes=0-0' }, signal });
      probe.cancel();
      const tag = entityTag(probe.response);
      const version = tag ?? probe.response.headers.get('last-modified') ?? undefined;
      const sizeBytes = probedSize(probe.response) ?? (await this.#headSize(url, shownUrl, signal));
      return { sizeBytes, version, tag };
    });
    this.#facts.set(path, facts);
    return facts;
  }

  async #headSize(url: string, shownUrl: string, signal: AbortSignal | undefined): Promise<number> {
    const head = await request(url, shownUrl, this.#settings, { method: 'HEAD', signal });
    head.cancel();
    const length = head.response.headers.get('content-length');
    if (length === null || !/^\d+$/.test(length) || !Number.isSafeInteger(Number(length))) {
      throw new NetworkError(
        `${shownUrl}: the server tells no file size. It has to answer a range request with content-range, or HEAD with content-length.`,
      );
    }
    return Number(length);
  }
}

/** The file's size by the answer to a request for its first byte, where the answer tells. */
function probedSize(response: Response): number | undefined {
  const { status, headers } = response;
  const encoding = headers.get('content-encoding') ?? 'identity';
  const total =
    status === 200
      ? encoding === 'identity' && headers.get('content-length')
      : /^bytes (?:0-0|\*)\/(\d+)$/.exec((headers.get('content-range') ?? '').trim())?.[1];
  const size = total ? Number(total) : Number.NaN;
  return Number.isSafeInteger(size) ? size : undefined;
}

function parsePrefix(prefix: string | URL): URL {
  let url: URL;
  try {
    url = new URL(prefix);
  } catch (cause) {
    throw new ArgumentError(`Expected an absolute http(s) URL, got ${JSON.stringify(String(prefix))}.`, { cause });
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new ArgumentError(`Expected an http(s) URL, got one of "${url.protocol}".`);
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  url.hash = '';
  return url;
}

function joined(pieces: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
