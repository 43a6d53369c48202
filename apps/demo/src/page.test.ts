/** The page in headless Chromium: it loads, streams, shows rounds, compares, stops, remembers, and says what is missing. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launchChromium, newPage } from '@forerun/tooling';
import type { PieceRound } from 'forerun';
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
  const page = await newPage(browser);
  page.on('pageerror', (error) => console.error(`page: ${error.message}`));
  await page.goto(address);
  return page;
}

/** A screenshot for each width that people have, in light and dark, kept for who looks at the tests' output. */
async function picture(page: Page, name: string): Promise<void> {
  mkdirSync(output, { recursive: true });
  for (const [width, scheme] of [
    [1280, 'light'],
    [390, 'dark'],
  ] as const) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    await page.screenshot({ path: join(output, `${name}-${width}.png`), fullPage: true });
    const tooWide = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(tooWide, `${name} at ${width}`).toBe(0);
  }
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

/** What the page shows of one round. */
interface ShownRound {
  readonly words: string;
  readonly bar: number;
  /** Class and depth of each node. */
  readonly nodes: readonly { readonly fate: string; readonly depth: number; readonly text: string }[];
}

/** Goes through all rounds with the keyboard and reads what is shown. */
async function allRounds(page: Page): Promise<ShownRound[]> {
  await page.focus('#round');
  await page.keyboard.press('Home');
  const count = Number(await page.getAttribute('#round', 'max'));
  const shown: ShownRound[] = [];
  for (let index = 0; index < count; index++) {
    if (index > 0) await page.keyboard.press('ArrowRight');
    shown.push(
      await page.evaluate((at) => {
        const depthOf = (node: Element): number => {
          const above = node.closest('li')!.parentElement!.closest('li');
          return above ? 1 + depthOf(above.firstElementChild!) : 0;
        };
        return {
          words: document.querySelector('#roundWords')!.textContent,
          bar: document.querySelectorAll('#strip .bar')[at]!.childElementCount,
          nodes: [...document.querySelectorAll('#tree .node')].map((node) => ({
            fate: node.className.replace('node ', ''),
            depth: depthOf(node),
            text: node.querySelector('.token')!.textContent,
          })),
        };
      }, index),
    );
  }
  return shown;
}

/** A table's rows as text. */
async function rowsOf(page: Page, table: string): Promise<string[][]> {
  const rows = await page.locator(`${table} tbody tr`).all();
  return Promise.all(rows.map((row) => row.locator('th, td').allTextContents()));
}

/** Most nodes beside each other in a round: in a chain a guess, and the model's own token. */
function mostAtADepth(rounds: readonly ShownRound[]): number {
  const counts = rounds.flatMap(({ nodes }) =>
    nodes.map(({ depth }) => nodes.filter((other) => other.depth === depth).length),
  );
  return Math.max(...counts);
}

/** Holds the trees that are shown to the statistics beneath them: they tell of the same run. */
async function expectRoundsToAgree(page: Page): Promise<readonly ShownRound[]> {
  const rounds = await allRounds(page);
  const count = (fate: string) => rounds.flatMap(({ nodes }) => nodes).filter((node) => node.fate === fate).length;
  const sums = Object.fromEntries(await rowsOf(page, '#sums')) as Record<string, string>;
  const guessed = count('accepted') + count('refused') + count('unreached');
  expect(rounds).toHaveLength(Number(sums['Rounds of the model']));
  expect(count('anchor')).toBe(rounds.length);
  expect(count('chosen')).toBe(rounds.length);
  expect(sums['Guesses accepted']).toBe(`${count('accepted')} of ${guessed}`);
  expect(rounds.reduce((sum, { bar }) => sum + bar, 0)).toBe(Number(sums['Tokens']));
  const shares: string[][] = [];
  for (let depth = 1; ; depth++) {
    // Guesses were looked at here where a node follows an accepted one, or the anchor.
    const reached = rounds.filter(({ nodes }) =>
      nodes.some((node) => node.depth === depth && ['accepted', 'refused'].includes(node.fate)),
    );
    if (reached.length === 0) break;
    const deepest = ({ nodes }: ShownRound) => nodes.filter(({ fate }) => fate === 'accepted').length;
    const passed = reached.filter((round) => deepest(round) >= depth);
    shares.push([`Depth ${depth}`, '', `${Math.round((100 * passed.length) / reached.length)} %`]);
  }
  expect(await rowsOf(page, '#depths')).toEqual(shares);
  rounds.forEach(({ words, nodes }, index) => {
    expect(words).toContain(`Round ${index + 1} of ${rounds.length}`);
    expect(words).toContain(nodes.find(({ fate }) => fate === 'chosen')!.text);
  });
  return rounds;
}

describe('the page', () => {
  test('loads, tells, shows rounds, compares, remembers its form over a reload, and stops', async () => {
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
    expect(await page.locator('#sums').textContent()).toMatch(/Rounds of the model\d+/);
    expect(await page.inputValue('#drafter')).toBe('eagle');
    expect(mostAtADepth(await expectRoundsToAgree(page))).toBeGreaterThan(2);

    await story(page).locator('.round').nth(2).hover();
    await page.locator('#roundWords', { hasText: /^Round 3 of/ }).waitFor();
    await page.locator('#status').hover();
    await page
      .locator('#roundWords', { hasText: new RegExp(`^Round ${await page.inputValue('#round')} of`) })
      .waitFor();
    await page.locator('#strip .bar').nth(1).click();
    expect(await page.inputValue('#round')).toBe('2');
    expect(await story(page).locator('.round.chosen').getAttribute('data-round')).toBe('1');

    await page.fill('#maxTokens', '6');
    await page.click('#compare');
    await waitFor(page, /^Compared/);
    const compared = await rowsOf(page, '#comparison');
    const drafters = await page.locator('#drafter option').allTextContents();
    expect(compared.map(([name]) => name)).toEqual(drafters);
    expect(compared[0]!.slice(1)).toEqual(['1.00', expect.any(String), '1.00 ×', '-', '6', '-']);
    for (const [, , , , text] of compared.slice(1)) expect(text).toBe('the same');
    await picture(page, 'demo-page');

    await page.selectOption('#drafter', 'draft-model');
    await page.selectOption('#width', '4');
    await page.fill('#maxTokens', '24');
    await page.click('#tell');
    await waitFor(page, /^Told/);
    expect(mostAtADepth(await expectRoundsToAgree(page))).toBeLessThanOrEqual(2);

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
    await page.selectOption('#drafter', 'none');
    await page.fill('#prompt', '<img src=x onerror="document.title=\'broken\'"> said');
    await page.fill('#maxTokens', '3');
    await page.click('#tell');
    await waitFor(page, /^Told/);
    expect(await story(page).textContent()).toContain('<img src=x');
    expect(await story(page).locator('img').count()).toBe(0);
    expect(await page.title()).toMatch(/^Forerun/);
    await page.fill('#prompt', '🙂'.repeat(1900));
    await page.click('#tell');
    await page.locator('#status.failed').waitFor();
    expect(await status(page).textContent()).toMatch(/prompt has \d+ tokens.*2048/);
    await page.close();
  });
});

describe('the tree of a round', () => {
  /** Row, parent, text; the path is 0, 2, 6. */
  const rows: readonly (readonly [parent: number, text: string])[] = [
    [-1, ' was'],
    [0, ' a'],
    [0, ' very'],
    [0, '<b onclick="alert(1)">bold</b>'],
    [1, ' little'],
    [1, '\n'],
    [2, ' big'],
    [2, ' \u202Ederorrim'],
    [3, ''],
    [6, ' dog'],
    [6, ' cat'],
    [6, ' unbelievablylongwordthatnobodysaysinastory'],
    [9, ' named'],
    [9, ' who'],
    [12, ' Max'],
  ];
  const path = [0, 2, 6];
  const depthOf = (row: number): number => (row === 0 ? 0 : 1 + depthOf(rows[row]![0]));
  const round: PieceRound = {
    nodes: rows.map(([parent, text], row) => ({
      token: 100 + row,
      parent,
      text,
      depth: depthOf(row),
      accepted: path.includes(row),
    })),
    path,
    next: { id: 7, text: ' bear' },
    disagreed: true,
    times: undefined,
  };

  test('shows every node, what was accepted, and what the model chose instead, all of it as text', async () => {
    const page = await newPage(browser);
    await page.addInitScript(() => Reflect.deleteProperty(Navigator.prototype, 'gpu'));
    await page.goto(address);
    await page.locator('#status.failed').waitFor();
    // `import()` in a function that the test passes to the page would be the test's own.
    await page.addScriptTag({
      type: 'module',
      content: `
        import { treeOf } from '/src/tree.ts';
        document.querySelector('#rounds').hidden = false;
        document.querySelector('#tree').replaceChildren(treeOf(${JSON.stringify(round)}));`,
    });
    await page.locator('#tree .chosen').waitFor();
    const texts = (fate: string) => page.locator(`#tree .node.${fate} .token`).allTextContents();
    expect(await texts('anchor')).toEqual(['·was']);
    expect(await texts('accepted')).toEqual(['·very', '·big']);
    expect(await texts('chosen')).toEqual(['·bear']);
    expect(new Set(await texts('refused'))).toEqual(
      new Set([
        '·a',
        '<b·onclick="alert(1)">bold</b>',
        '·\u202Ederorrim',
        '·dog',
        '·cat',
        '·unbelievablylongwordthatnobodysaysinastory',
      ]),
    );
    expect(new Set(await texts('unreached'))).toEqual(new Set(['·little', '\\n', '#108', '·named', '·who', '·Max']));
    expect(await page.locator('#tree b').count()).toBe(0);
    // The accepted path is the top line, and the model's own token ends it.
    const topLine = await page.evaluate(() => {
      const line: string[] = [];
      for (let item = document.querySelector('#tree li'); item; item = item.querySelector(':scope > ul > li'))
        line.push(item.querySelector('.token')!.textContent);
      return line;
    });
    expect(topLine).toEqual(['·was', '·very', '·big', '·bear']);
    await picture(page, 'demo-tree');
    await page.close();
  });
});

describe('the page says what is missing', () => {
  test('where the browser has no WebGPU', async () => {
    const page = await newPage(browser);
    await page.addInitScript(() => Reflect.deleteProperty(Navigator.prototype, 'gpu'));
    await page.goto(address);
    await page.locator('#status.failed').waitFor();
    expect(await status(page).textContent()).toMatch(/no WebGPU.*Use a recent Chrome/);
    expect(await page.locator('#tell').isDisabled()).toBe(true);
    await page.close();
  });

  test('where WebGPU finds no adapter', async () => {
    await using without = await launchChromium({ webgpu: false });
    const page = await newPage(without);
    await page.goto(address);
    await page.locator('#status.failed').waitFor();
    expect(await status(page).textContent()).toMatch(/found no adapter.*hardware acceleration/);
    expect(await page.locator('#tell').isDisabled()).toBe(true);
  });
});
