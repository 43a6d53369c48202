import { createServer } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launchChromium, newPage } from '../src/index.ts';

const server = createServer((_, response) => {
  response.setHeader('content-type', 'text/html');
  response.end('<!doctype html><title>page</title>');
});
let address = '';

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('The server has no port.');
  address = `http://localhost:${bound.port}`;
});
afterAll(() => server.close());

test('a page and a worker in headless Chromium find an adapter', async () => {
  await using browser = await launchChromium();
  const page = await newPage(browser);
  await page.goto(address);
  const inPage = await page.evaluate(async () => (await navigator.gpu.requestAdapter())?.info.architecture);
  expect(inPage).toBe('swiftshader');
  const inWorker = await page.evaluate(async () => {
    const text = 'navigator.gpu.requestAdapter().then((adapter) => postMessage(adapter.info.architecture))';
    const worker = new Worker(URL.createObjectURL(new Blob([text])));
    return new Promise<string>((resolve) => worker.addEventListener('message', ({ data }) => resolve(data)));
  });
  expect(inWorker).toBe('swiftshader');
});

test('a page finds no WebGPU where it was switched off', async () => {
  await using browser = await launchChromium({ webgpu: false });
  const page = await newPage(browser);
  await page.goto(address);
  const adapter = await page.evaluate(async () => (await navigator.gpu?.requestAdapter()) ?? 'none');
  expect(adapter).toBe('none');
});
