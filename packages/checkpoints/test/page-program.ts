/** What the browser test does inside the page. */
import * as api from '../src/index.ts';

/** Bytes of the checkpoint's one tensor. */
const tensorBytes = 3_000_000;

/** Loads the checkpoint as a user's page would, after damaging what is stored if asked to. */
export async function load(options: { url: string; store?: 'best' | 'cache-api'; damage?: boolean }) {
  const blobs = options.store && (await stores[options.store]());
  if (options.damage && blobs) {
    for (const { key, bytes } of await blobs.list()) {
      const blob = (await blobs.read(key))!;
      blob[bytes - 1]! ^= 1;
      await blobs.write(key, blob);
    }
  }
  const http = api.httpSource(`${options.url}/model`);
  const cached = blobs && api.cachedSource(http, blobs, { blockBytes: 1 << 20 });
  const checkpoint = await api.openCheckpoint(cached ?? http);
  const config = await checkpoint.config();
  const all = new Uint8Array(tensorBytes);
  let at = 0;
  for await (const slice of checkpoint.stream(['a'], { sliceBytes: 1 << 20 })) {
    all.set(slice.bytes, at);
    at += slice.bytes.length;
  }
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', all));
  return {
    config,
    statistics: { ...cached?.statistics },
    digest: Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join(''),
    stored: blobs ? (await blobs.list()).length : 0,
  };
}

const stores = {
  best: () => api.browserBlobStore('test'),
  'cache-api': async () => api.cacheApiBlobStore(await caches.open('test')),
};

/** Names in the origin's private file system. */
export async function privateFolders(): Promise<string[]> {
  const names: string[] = [];
  for await (const [name] of (await navigator.storage.getDirectory()).entries()) names.push(name);
  return names;
}

/** The size of a file in a folder of the browser, by folder and by file, and what a folder by path gives. */
export async function openPicked() {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle('picked', { create: true });
  const writable = await (await folder.getFileHandle('config.json', { create: true })).createWritable();
  await writable.write('{"a":1}');
  await writable.close();
  const file = await (await folder.getFileHandle('config.json')).getFile();
  const sources = [api.directorySource(folder), api.filesSource([file])];
  const sizes = await Promise.all(sources.map((source) => source.size('config.json')));
  try {
    api.folderSource('/etc');
    return { sizes, refusal: 'none' };
  } catch (cause) {
    return { sizes, refusal: (cause as api.PathError).code };
  }
}
