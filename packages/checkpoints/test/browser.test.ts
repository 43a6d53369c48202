import { createHash } from 'node:crypto';
import type { Page } from 'playwright-core';
import { launchChromium, newPage } from '@forerun/tooling';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { servePage, type PageServer } from './page-server.ts';
import { safetensorsFile, seededBytes, text } from './write-safetensors.ts';

type Program = typeof import('./page-program.ts');

declare global {
  var program: Program;
}

const bytes = seededBytes(3_000_000, 1);
const digest = createHash('sha256').update(bytes).digest('hex');
const model = new Map([
  ['model.safetensors', safetensorsFile([{ name: 'a', dtype: 'BF16', shape: [1500, 1000], bytes }])],
  ['config.json', text('{"model_type":"llama"}')],
]);
let server: PageServer;
let elsewhere: PageServer;
let browser: Awaited<ReturnType<typeof launchChromium>>;
let page: Page;

beforeAll(async () => {
  [server, elsewhere, browser] = await Promise.all([
    servePage(model),
    servePage(model),
    launchChromium({ webgpu: false }),
  ]);
  page = await newPage(browser);
  await page.goto(server.url);
  await page.waitForFunction(() => 'program' in globalThis);
});
afterAll(async () => {
  await browser?.close();
  await Promise.all([server?.close(), elsewhere?.close()]);
});

const load = (options: Parameters<Program['load']>[0]) =>
  page.evaluate((given) => globalThis.program.load(given), options);

const transfers = (from: PageServer): number =>
  from.modelRequests.filter(({ path, range }) => path === 'model.safetensors' && range !== 'bytes=0-0').length;

test('without a cache', async () => {
  const loaded = await load({ url: server.url });
  expect(loaded).toMatchObject({ digest, config: { model_type: 'llama' } });
});

test('from another origin that exposes no content-range', async () => {
  expect(await load({ url: elsewhere.url })).toMatchObject({ digest });
});

test.each(['best', 'cache-api'] as const)(
  'cached in %s: downloaded once, checked, and fetched again when damaged',
  async (store) => {
    expect(await load({ url: server.url, store })).toMatchObject({ digest, statistics: { unstored: 0, dropped: 0 } });
    server.modelRequests.length = 0;
    await page.reload();
    await page.waitForFunction(() => 'program' in globalThis);
    expect(await load({ url: server.url, store })).toMatchObject({ digest, statistics: { misses: 0, dropped: 0 } });
    expect(transfers(server)).toBe(0);
    const damaged = await load({ url: server.url, store, damage: true });
    expect(damaged).toMatchObject({ digest, statistics: { hits: 1, unstored: 0, dropped: 4 } });
    expect(transfers(server)).toBeGreaterThan(0);
    expect(damaged.stored).toBe(6);
  },
);

test('the best store of Chromium is its private file system', async () => {
  const names = await page.evaluate(() => globalThis.program.privateFolders());
  expect(names).toContain('test');
});

test('files and folders of the browser, and no folders by path', async () => {
  const seen = await page.evaluate(() => globalThis.program.openPicked());
  expect(seen).toEqual({ sizes: [7, 7], refusal: 'argument' });
});
