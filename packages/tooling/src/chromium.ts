import { createReadStream, existsSync, readFileSync, readdirSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, type LaunchOptions, type Page, chromium } from 'playwright-core';
import { root } from './checks/workspace.ts';
import { startScript, unpackChromium } from './unpack-chromium.ts';

/** How to start the browser. */
export interface ChromiumOptions {
  /** False starts a browser whose pages have no `navigator.gpu`; true by default. */
  readonly webgpu?: boolean;
  /** Further command-line switches. */
  readonly args?: readonly string[];
}

/** For starting the browser and for each wait in a page: far above what a busy machine of two cores needs. */
const patienceMs = 110_000;

/**
 * Starts a headless Chromium with WebGPU on its own software adapter. `FORERUN_CHROMIUM` names another executable;
 * elsewhere than on Linux x64 it must be set or Chrome be installed. Pages have to come from `http://localhost`,
 * since `navigator.gpu` exists in secure contexts only.
 *
 * @throws {@link Error} if the browser cannot be unpacked or does not start.
 */
export async function launchChromium({ webgpu = true, args = [] }: ChromiumOptions = {}): Promise<Browser> {
  const gpu = webgpu
    ? ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan']
    : ['--disable-features=WebGPU', '--disable-blink-features=WebGPU'];
  const options: LaunchOptions = { headless: true, timeout: patienceMs, args: [...gpu, '--no-sandbox', ...args] };
  const executablePath = await chromiumExecutable();
  if (executablePath === undefined) return chromium.launch({ ...options, channel: 'chrome' });
  // The browser brings its own Vulkan; the driver chosen for this process must not leak into it.
  const env: NodeJS.ProcessEnv = { ...process.env };
  delete env['VK_ICD_FILENAMES'];
  delete env['VK_DRIVER_FILES'];
  return chromium.launch({ ...options, executablePath, env });
}

/**
 * What starts a Chromium here: what `FORERUN_CHROMIUM` names, or the one that npm brought for Linux x64, unpacked on first use; undefined
 * where there is neither.
 */
export async function chromiumExecutable(): Promise<string | undefined> {
  const named = process.env['FORERUN_CHROMIUM'];
  if (named) return named;
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  return join(await unpackedChromium(), startScript);
}

/** A page whose waits end later than those of playwright's default, 30 s, which a machine busy with other tests can miss. */
export async function newPage(browser: Browser): Promise<Page> {
  const page = await browser.newPage();
  page.setDefaultTimeout(patienceMs);
  return page;
}

/** The folder with the unpacked browser of @sparticuz/chromium, unpacked once for all processes of this checkout. */
async function unpackedChromium(): Promise<string> {
  const source = dirname(dirname(fileURLToPath(import.meta.resolve('@sparticuz/chromium'))));
  const { version } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as { version: string };
  const folder = join(root, 'node_modules', '.cache', 'forerun', `browser-${version}`);
  if (existsSync(folder)) return folder;
  const part = `${folder}.${process.pid}.${Date.now()}.part`;
  const archives = readdirSync(join(source, 'bin')).map(
    (name) => [name, () => createReadStream(join(source, 'bin', name))] as const,
  );
  // Renamed when it is whole, so that no browser finds half of it.
  await unpackChromium(new Map(archives), part, folder);
  try {
    await rename(part, folder);
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}
