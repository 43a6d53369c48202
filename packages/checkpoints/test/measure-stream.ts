/**
 * Streams a checkpoint in a process of its own and prints how much host memory it took at most: heap + external (array buffers are
 * part of it) beyond what stood at the start. Node's own moment of collecting is not of interest, so garbage is collected at each slice.
 */
import { createServer } from 'node:http';
import { createReadStream, statSync } from 'node:fs';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import {
  cachedSource,
  folderSource,
  httpSource,
  openCheckpoint,
  type BlobStore,
  type ByteSource,
} from '../src/index.ts';

const [folder, kind, sliceMiB] = process.argv.slice(2) as [string, string, string];

/** A disk that takes everything and remembers nothing. */
const forgetful: BlobStore = {
  read: async () => undefined,
  write: async () => {},
  remove: async () => {},
  list: async () => [],
};

const server = createServer((request, response) => {
  const file = join(folder, request.url!.slice(1));
  const bytes = statSync(file, { throwIfNoEntry: false })?.size;
  if (bytes === undefined) return void response.writeHead(404).end();
  const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? `bytes=0-${bytes - 1}`)!;
  const end = Math.min(Number(last), bytes - 1);
  response.writeHead(206, {
    'content-length': end - Number(first) + 1,
    'content-range': `bytes ${first}-${end}/${bytes}`,
  });
  createReadStream(file, { start: Number(first), end, highWaterMark: 1 << 18 }).pipe(response);
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

const sources: Record<string, () => ByteSource> = {
  folder: () => folderSource(folder),
  http: () => httpSource(url),
  cache: () => cachedSource(folderSource(folder), forgetful),
};
const used = (): number => {
  globalThis.gc!();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

const start = used();
const checkpoint = await openCheckpoint(sources[kind]!());
let bytes = 0;
let slices = 0;
let peakBytes = 0;
for await (const slice of checkpoint.stream(checkpoint.tensors.keys(), { sliceBytes: Number(sliceMiB) << 20 })) {
  bytes += slice.bytes.length;
  slices++;
  peakBytes = Math.max(peakBytes, used() - start);
}
server.close();
server.closeAllConnections();
console.log(JSON.stringify({ bytes, slices, peakBytes }));
