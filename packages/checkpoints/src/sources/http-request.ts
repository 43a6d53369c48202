import { AbortedError, AccessError, FileMissingError, NetworkError, ResponseError, throwIfAborted } from '../errors.ts';

/** How a server is asked, and how patiently. */
export interface HttpOptions {
  /** Sent with every request, such as `authorization`; a redirect to another host drops that one. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Used in place of the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch;
  /** Further tries after a failure that may pass: no connection, a stall, a cut body, status 408, 425, 429 or 5xx. Default 4. */
  readonly retries?: number;
  /** Wait before the first retry, in milliseconds; doubles with each, up to 8 s. A server's `retry-after` wins, up to 30 s. Default 250. */
  readonly retryDelayMs?: number;
  /** Longest wait for response headers, or for the next bytes of a body, in milliseconds. Default 30,000. */
  readonly idleTimeoutMs?: number;
}

/** The options with their defaults. */
export type HttpSettings = Required<HttpOptions>;

/** Fills in defaults. */
export function httpSettings(options: HttpOptions): HttpSettings {
  return {
    headers: options.headers ?? {},
    // Called late and bound, so that a page's own replacement of fetch is seen.
    fetch: options.fetch ?? ((...parameters) => globalThis.fetch(...parameters)),
    retries: options.retries ?? 4,
    retryDelayMs: options.retryDelayMs ?? 250,
    idleTimeoutMs: options.idleTimeoutMs ?? 30_000,
  };
}

/** A failure that may pass. Never leaves this folder: after the last retry it becomes its `final` error. */
export class TransientFailure extends Error {
  readonly final: Error;
  readonly retryAfterMs: number | undefined;

  constructor(final: Error, retryAfterMs?: number) {
    super(final.message, { cause: final });
    this.final = final;
    this.retryAfterMs = retryAfterMs;
  }
}

/** A response whose body has not been read yet. */
export interface OpenResponse {
  readonly response: Response;
  /** The next piece of the body; undefined at its end. Fails with {@link TransientFailure} on a stall or a broken connection. */
  next(): Promise<Uint8Array | undefined>;
  /** Ends the transfer. */
  cancel(): void;
}

const transientStatus = new Set([408, 425, 429]);

/**
 * Sends one request and waits for its headers.
 *
 * @param shownUrl - The URL without its query, for messages.
 * @throws AbortedError, FileMissingError (404, 410), AccessError (401, 403), ResponseError (other refusals),
 *   TransientFailure (what {@link withRetries} tries again). Status 416 is returned: the caller knows what it means.
 */
export async function request(
  url: string,
  shownUrl: string,
  settings: HttpSettings,
  options: { headers?: Record<string, string>; method?: string; signal?: AbortSignal | undefined },
): Promise<OpenResponse> {
  const { signal, method = 'GET' } = options;
  throwIfAborted(signal, `fetching ${shownUrl}`);
  const controller = new AbortController();
  const onAbort = (): void => controller.abort();
  signal?.addEventListener('abort', onAbort, { once: true });
  const finish = (): void => {
    signal?.removeEventListener('abort', onAbort);
    controller.abort();
  };
  const waiting = async <T>(work: Promise<T>): Promise<T> => {
    let stalled = false;
    const timer = setTimeout(() => {
      stalled = true;
      controller.abort();
    }, settings.idleTimeoutMs);
    try {
      return await work;
    } catch (cause) {
      finish();
      if (signal?.aborted) throw new AbortedError(`Aborted while fetching ${shownUrl}.`, { cause: signal.reason });
      const why = stalled
        ? `sent nothing for ${settings.idleTimeoutMs} ms`
        : `could not be reached or broke off (${reasonOf(cause)})`;
      throw new TransientFailure(
        new NetworkError(`${shownUrl} ${why}. Check the connection and try again.`, { cause }),
      );
    } finally {
      clearTimeout(timer);
    }
  };

  const headers = { ...settings.headers, ...options.headers };
  const response = await waiting(
    settings.fetch(url, { method, headers, signal: controller.signal, redirect: 'follow' }),
  );
  if (!response.ok && response.status !== 416) {
    finish();
    throw statusError(response, shownUrl);
  }
  const body = response.body?.getReader();
  return {
    response,
    next: async () => {
      if (!body) return undefined;
      const piece = await waiting(body.read());
      if (!piece.done) return piece.value;
      signal?.removeEventListener('abort', onAbort);
      return undefined;
    },
    cancel: finish,
  };
}

/** Runs `attempt` until it succeeds, fails for good, or has failed `settings.retries + 1` times. */
export async function withRetries<T>(
  settings: HttpSettings,
  signal: AbortSignal | undefined,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await attempt();
    } catch (cause) {
      if (!(cause instanceof TransientFailure)) throw cause;
      if (tries >= settings.retries) throw cause.final;
      await backOff(settings, signal, tries, cause);
    }
  }
}

/** Waits before try number `tries + 2`. */
export async function backOff(
  settings: HttpSettings,
  signal: AbortSignal | undefined,
  tries: number,
  failure: TransientFailure,
): Promise<void> {
  const waitMs = failure.retryAfterMs ?? Math.min(settings.retryDelayMs * 2 ** tries, 8000);
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, waitMs);
    signal?.addEventListener('abort', done, { once: true });
  });
  throwIfAborted(signal, 'waiting to try again');
}

function statusError(response: Response, shownUrl: string): Error {
  const { status } = response;
  if (status === 404 || status === 410) {
    return new FileMissingError(
      `${shownUrl} does not exist (status ${status}). Check the address, repository and revision.`,
    );
  }
  if (status === 401 || status === 403) {
    return new AccessError(
      `${shownUrl} refused access (status ${status}). It may be private, gated or misspelt: check the name, and give a token that may read it.`,
    );
  }
  if (transientStatus.has(status) || status >= 500) {
    const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
    const retryAfterMs = seconds >= 0 ? Math.min(seconds, 30) * 1000 : undefined;
    return new TransientFailure(
      new NetworkError(`${shownUrl} kept failing (status ${status}). Try again later.`),
      retryAfterMs,
    );
  }
  return new ResponseError(`${shownUrl} answered with status ${status}, expected 200 or 206.`);
}

function reasonOf(cause: unknown): string {
  const error = cause as { message?: string; cause?: { code?: string; message?: string } };
  return error.cause?.code ?? error.cause?.message ?? error.message ?? String(cause);
}
