import { readFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { stripTypeScriptTypes } from 'node:module';
import type { AddressInfo } from 'node:net';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sendRange } from './file-server.ts';

const packages = join(import.meta.dirname, '../..');

/** Where bare names lead in a browser: the packages' sources, without the `node` condition. */
const imports = {
  '@forerun/tensor': '/tensor/src/index.ts',
  '#folder': '/checkpoints/src/sources/folder.browser.ts',
  '#gpu': '/tensor/src/device/gpu.browser.ts',
  '#choice-store': '/tensor/src/run/choice-store.browser.ts',
  '@huggingface/tokenizers': '/@huggingface/tokenizers',
  '@huggingface/jinja': '/@huggingface/jinja',
};

/** A server of a page that can import the sources as they are, and of a model's files. */
export interface PageServer {
  readonly url: string;
  /** Path and range of each request for a model's file. */
  readonly modelRequests: { path: string; range: string | undefined }[];
  close(): Promise<void>;
}

/** @param model - Files below `/model/`; pages of other origins may read them, but see no header that CORS hides. */
export async function servePage(model: ReadonlyMap<string, Uint8Array>): Promise<PageServer> {
  const modelRequests: PageServer['modelRequests'] = [];
  const server = createServer(async (request, response) => {
    const path = new URL(request.url!, 'http://localhost').pathname;
    if (path.startsWith('/model/')) {
      modelRequests.push({ path: path.slice(7), range: request.headers.range });
      response.setHeader('access-control-allow-origin', '*');
      const body = model.get(path.slice(7));
      if (body) sendRange(request, response, body);
      else response.writeHead(404).end();
      return;
    }
    await sendModule(path, response).catch(() => response.writeHead(404).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}`,
    modelRequests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function sendModule(path: string, response: ServerResponse): Promise<void> {
  if (path === '/') {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(
      `<!doctype html><script type="importmap">${JSON.stringify({ imports })}</script>` +
        `<script type="module">import * as program from '/checkpoints/test/page-program.ts'; globalThis.program = program;</script>`,
    );
    return;
  }
  const file = path.startsWith('/@huggingface/')
    ? fileURLToPath(import.meta.resolve(path.slice(1)))
    : join(packages, path);
  if (!path.startsWith('/@') && relative(packages, file).startsWith('..')) throw new Error('outside');
  const source = await readFile(file, 'utf8');
  response.writeHead(200, { 'content-type': 'text/javascript' });
  response.end(file.endsWith('.ts') ? stripTypeScriptTypes(source, { mode: 'strip' }) : source);
}
