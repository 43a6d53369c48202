import { AbortedError, FileChangedError, ResponseError, TruncatedError, throwIfAborted } from '../errors.ts';
import { checkRange, type ByteReader } from './byte-source.ts';
import { TransientFailure, backOff, request, type HttpSettings, type OpenResponse } from './http-request.ts';

/** Bytes that must have come since the last failure for the count of failures to start again. */
const progressBytes = 1 << 20;

/** A file on a server. */
export interface HttpFile {
  readonly url: string;
  /** The URL without its query, for messages. */
  readonly shownUrl: string;
  readonly settings: HttpSettings;
  /** Entity tag that the file had when its size was asked for. */
  readonly tag: string | undefined;
  /** Called when the file turns out to be another one. */
  onChanged(): void;
}

/** One file's range over HTTP, in order; goes on where it broke off, and reads past what it does not want if the server ignores ranges. */
export class HttpReader implements ByteReader {
  readonly #file: HttpFile;
  readonly #signal: AbortSignal | undefined;
  readonly #end: number;
  #position: number;
  #open: OpenResponse | undefined;
  #rest: Uint8Array = new Uint8Array(0);
  #tag: string | undefined;
  #failures = 0;
  #closed = false;
  #sinceFailureBytes = 0;

  constructor(file: HttpFile, range: { begin: number; end: number; signal: AbortSignal | undefined }) {
    this.#file = file;
    this.#signal = range.signal;
    this.#tag = file.tag;
    this.#position = range.begin;
    this.#end = range.end;
  }

  async read(target: Uint8Array): Promise<void> {
    checkRange(this.#file.shownUrl, this.#position, this.#position + target.length, this.#end);
    let filled = 0;
    while (filled < target.length) {
      if (this.#rest.length === 0) this.#rest = await this.#nextPiece();
      const piece = this.#rest.subarray(0, target.length - filled);
      target.set(piece, filled);
      this.#rest = this.#rest.subarray(piece.length);
      filled += piece.length;
      this.#position += piece.length;
    }
    if (this.#position === this.#end) await this.close();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#open?.cancel();
    this.#open = undefined;
    this.#rest = new Uint8Array(0);
  }

  async #nextPiece(): Promise<Uint8Array> {
    const { settings, shownUrl } = this.#file;
    for (;;) {
      throwIfAborted(this.#signal, `fetching ${shownUrl}`);
      try {
        this.#open ??= await this.#connect();
        if (this.#rest.length > 0) return this.#rest;
        const piece = await this.#open.next();
        if (piece === undefined) {
          throw new TransientFailure(
            new TruncatedError(
              `${shownUrl} ended at byte ${this.#position}, expected ${this.#end}. The server cuts it short.`,
            ),
          );
        }
        this.#sinceFailureBytes += piece.length;
        if (piece.length > 0) return piece;
      } catch (cause) {
        this.#open?.cancel();
        this.#open = undefined;
        if (this.#closed) throw new AbortedError(`${shownUrl} was closed while it was being read.`, { cause });
        if (!(cause instanceof TransientFailure)) throw cause;
        if (this.#sinceFailureBytes >= progressBytes) this.#failures = 0;
        this.#sinceFailureBytes = 0;
        if (this.#failures >= settings.retries) throw cause.final;
        await backOff(settings, this.#signal, this.#failures++, cause);
      }
    }
  }

  async #connect(): Promise<OpenResponse> {
    const { url, shownUrl, settings } = this.#file;
    const last = this.#end - 1;
    const open = await request(url, shownUrl, settings, {
      headers: { range: `bytes=${this.#position}-${last}` },
      signal: this.#signal,
    });
    try {
      const { response } = open;
      const encoding = response.headers.get('content-encoding');
      if (encoding && encoding !== 'identity') {
        throw new ResponseError(
          `${shownUrl} came with content-encoding "${encoding}", but a byte range needs plain bytes.`,
        );
      }
      const tag = entityTag(response);
      if (this.#tag !== undefined && tag !== undefined && tag !== this.#tag) {
        this.#file.onChanged();
        throw new FileChangedError(
          `${shownUrl} changed on the server while it was being read (${this.#tag} became ${tag}). Load again.`,
        );
      }
      this.#tag ??= tag;
      if (response.status === 416) {
        throw new TruncatedError(`${shownUrl} has no bytes ${this.#position} to ${last}: it is shorter than expected.`);
      }
      if (response.status === 206) checkContentRange(response, shownUrl, this.#position, last);
      else await this.#skip(open, this.#position);
      return open;
    } catch (cause) {
      open.cancel();
      throw cause;
    }
  }

  /** Reads past the first `bytes` bytes, for a server that answers a range with the whole file. */
  async #skip(open: OpenResponse, bytes: number): Promise<void> {
    let left = bytes;
    while (left > 0) {
      const piece = await open.next();
      if (piece === undefined) {
        throw new TransientFailure(
          new TruncatedError(
            `${this.#file.shownUrl} ended after ${bytes - left} bytes, expected ${this.#end}. The server cuts it short.`,
          ),
        );
      }
      if (piece.length > left) this.#rest = piece.subarray(left);
      left -= Math.min(left, piece.length);
    }
  }
}

/** The answer's entity tag, whether it is called weak or not: some servers do so on the way. */
export function entityTag(response: Response): string | undefined {
  return response.headers.get('etag')?.replace(/^W\//, '');
}

/** Checks that a 206 answer holds exactly the bytes asked for. Pages often may not see the header; then the length has to do. */
function checkContentRange(response: Response, shownUrl: string, first: number, last: number): void {
  const shown = response.headers.get('content-range');
  if (shown !== null) {
    const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(shown.trim());
    if (!match || Number(match[1]) !== first || Number(match[2]) !== last) {
      throw new ResponseError(
        `${shownUrl} was asked for bytes ${first} to ${last}, but answered with content-range "${shown}".`,
      );
    }
    return;
  }
  const length = response.headers.get('content-length');
  if (length !== null && Number(length) !== last - first + 1) {
    throw new ResponseError(`${shownUrl} was asked for ${last - first + 1} bytes, but answered with ${length}.`);
  }
}
