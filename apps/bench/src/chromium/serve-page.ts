import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';

/** A page on this machine. */
export interface ServedPage {
  readonly url: string;
  close(): void;
}

/** Pages that are isolated see time in steps of 5 us instead of 100. */
const isolated = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };

/**
 * Serves a page with one script, and the files of a folder below `/model/`.
 *
 * @param script - Text of the script, a module.
 * @param folder - Folder of a checkpoint, without folders in it.
 */
export async function servePage(script: string, folder: string): Promise<ServedPage> {
  const server = createServer((request, response) => {
    const path = new URL(request.url!, 'http://localhost').pathname;
    if (path.startsWith('/model/')) {
      readFile(join(folder, basename(decodeURIComponent(path)))).then(
        (bytes) => response.end(bytes),
        () => response.writeHead(404).end(),
      );
      return;
    }
    const [type, body] =
      path === '/page.js'
        ? ['text/javascript', script]
        : ['text/html', '<!doctype html><title>bench</title><script type="module" src="/page.js"></script>'];
    response.writeHead(200, { 'content-type': `${type}; charset=utf-8`, ...isolated }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}/`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
