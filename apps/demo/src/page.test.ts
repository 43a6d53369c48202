/** The page in headless Chromium: it loads, streams, stops, remembers, and says what is missing. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launchChromium } from '@forerun/tooling';
import type { Browser, Page } from 'playwright-core';
import { createServer, type ViteDevServer } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const app = fileURLToPath(new URL('../', import.meta.url));
const output = fileURLToPath(new URL('../../../test-output/', import.meta.url));

let server: ViteDevServer;
let address: string;
let browser: Browser;

beforeAll(async () => {
  server = await createServer({
    configFile: join(app, 'vite.config.ts'),
    server: { port: 0, host: '127.0.0.1', watch: null, hmr: false },
    logLevel: 'error',
  });
  await server.listen();
  address = server.resolvedUrls!.local[0]!.replace('127.0.0.1', 'localhost');
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

async function openPage(): Promise<Page> {
  const page = await browser.newPage();
  page.on('pageerror', (error) => console.error(`page: ${error.message}`));
  await page.goto(address);
  return page;
}

const status = (page: Page) => page.locator('#status');
const story = (page: Page) => page.locator('#story');

async function waitFor(page: Page, text: RegExp): Promise<void> {
  const deadline = Date.now() + 110_000;
  for (;;) {
    const now = (await status(page).textContent()) ?? '';
    if (text.test(now)) return;
    if (Date.now() > deadline || /failed/.test((await status(page).getAttribute('class')) ?? '')) {
      throw new Error(`Expected the status ${text}, it is "${now}".`);
    }
    await page.waitForTimeout(100);
  }
}

describe('the page', () => {
  test('loads, tells a story in colours, remembers its form over a reload, and stops', async () => {
    const page = await openPage();
    await waitFor(page, /^Ready on .*software adapter/);
    await page.fill('#prompt', 'One day, a small dog');
    await page.fill('#maxTokens', '24');
    await page.fill('#seed', '11');
    await page.click('#tell');
    await waitFor(page, /^Told/);
    const told = (await story(page).locator('.draft, .model').allTextContents()).join('');
    expect(await story(page).textContent()).toMatch(/^One day, a small dog/);
    expect(told.length).toBeGreaterThan(10);
    expect(await story(page).locator('.model').count()).toBeGreaterThan(0);
    expect(await page.locator('#statistics').textContent()).toMatch(/Rounds of the model\d+/);
    mkdirSync(output, { recursive: true });
    await page.screenshot({ path: join(output, 'demo-page.png'), fullPage: true });

    await page.reload();
    expect(await page.inputValue('#prompt')).toBe('One day, a small dog');
    expect(await page.inputValue('#maxTokens')).toBe('24');
    await waitFor(page, /^Ready/);
    await page.selectOption('#drafter', 'none');
    await page.click('#tell');
    await waitFor(page, /^Told/);
    expect((await story(page).locator('.draft, .model').allTextContents()).join('')).toBe(told);
    expect(await story(page).locator('.draft').count()).toBe(0);

    await page.fill('#maxTokens', '400');
    await page.click('#tell');
    await story(page).locator('.model').nth(3).waitFor();
    await page.click('#stop');
    await waitFor(page, /^Stopped/);
    const stopped = await story(page).textContent();
    await page.waitForTimeout(500);
    expect(await story(page).textContent()).toBe(stopped);
    await page.fill('#maxTokens', '5');
    await page.click('#tell');
    await waitFor(page, /^Told/);
    await page.close();
  });

  test('shows model text and mistakes as text', async () => {
    const page = await openPage();
    await waitFor(page, /^Ready/);
    await page.fill('#prompt', '<img src=x onerror="document.title=\'broken\'"> said');
    await page.fill('#maxTokens', '3');
    await page.click('#tell');
    await waitFor(page, /^Told/);
    expect(await story(page).textContent()).toContain('<img src=x');
    expect(await story(page).locator('img').count()).toBe(0);
    expect(await page.title()).toMatch(/^Forerun/);
    await page.fill('#prompt', '🙂'.repeat(1900));
    await page.click('#tell');
    await page.locator('#status.failed').waitFor({ timeout: 60_000 });
    expect(await status(page).textContent()).toMatch(/prompt has \d+ tokens.*2048/);
    await page.close();
  });
});

describe('the page says what is missing', () => {
  test('where the browser has no WebGPU', async () => {
    const page = await browser.newPage();
    await page.addInitScript(() => Reflect.deleteProperty(Navigator.prototype, 'gpu'));
    await page.goto(address);
    await page.locator('#status.failed').waitFor();
    expect(await status(page).textContent()).toMatch(/no WebGPU.*Use a recent Chrome/);
    expect(await page.locator('#tell').isDisabled()).toBe(true);
    await page.close();
  });

  test('where WebGPU finds no adapter', async () => {
    await using without = await launchChromium({ webgpu: false });
    const page = await without.newPage();
    await page.goto(address);
    await page.locator('#status.failed').waitFor();
    expect(await status(page).textContent()).toMatch(/found no adapter.*hardware acceleration/);
    expect(await page.locator('#tell').isDisabled()).toBe(true);
  });
});
