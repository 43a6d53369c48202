import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a server does with a request that it would otherwise answer well; returns whether it has answered. */
export type Misbehaviour = (request: IncomingMessage, response: ServerResponse, body: Uint8Array) => boolean;

/** A server of files on localhost. */
export interface FileServer {
  readonly url: string;
  /** Method, path and range of every request so far. */
  readonly requests: { method: string; path: string; range: string | undefined; authorization: string | undefined }[];
  misbehave: Misbehaviour | undefined;
  close(): Promise<void>;
}

/** Serves `files` with range requests and entity tags. */
export async function serveFiles(files: ReadonlyMap<string, Uint8Array>): Promise<FileServer> {
  const requests: FileServer['requests'] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url!, 'http://localhost').pathname.slice(1));
    const { range, authorization } = request.headers;
    requests.push({ method: request.method!, path, range, authorization });
    const body = files.get(path);
    if (body === undefined) {
      if (running.misbehave?.(request, response, new Uint8Array(0))) return;
      response.writeHead(404).end('not here');
      return;
    }
    if (running.misbehave?.(request, response, body)) return;
    sendRange(request, response, body);
  });
  const running: FileServer = {
    url: '',
    requests,
    misbehave: undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(running, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}

/** Answers as a good server does. */
export function sendRange(request: IncomingMessage, response: ServerResponse, body: Uint8Array, tag = '"one"'): void {
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const headers = { etag: tag, 'accept-ranges': 'bytes' };
  if (!match) {
    response.writeHead(200, { ...headers, 'content-length': body.length });
    response.end(request.method === 'HEAD' ? undefined : body);
    return;
  }
  const first = Number(match[1]);
  const last = Math.min(match[2] ? Number(match[2]) : body.length - 1, body.length - 1);
  if (first >= body.length) {
    response.writeHead(416, { 'content-range': `bytes */${body.length}` }).end();
    return;
  }
  response.writeHead(206, {
    ...headers,
    'content-length': last - first + 1,
    'content-range': `bytes ${first}-${last}/${body.length}`,
  });
  response.end(body.subarray(first, last + 1));
}

/** The bytes that a request's range asks for. */
export function askedBytes(request: IncomingMessage, body: Uint8Array): { first: number; bytes: Uint8Array } {
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const first = match ? Number(match[1]) : 0;
  const last = match?.[2] ? Number(match[2]) : body.length - 1;
  return { first, bytes: body.subarray(first, last + 1) };
}
