import { createReadStream, createWriteStream, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { createBrotliDecompress } from 'node:zlib';
import { type Browser, type LaunchOptions, type Page, chromium } from 'playwright-core';
import { extract } from 'tar-fs';
import { root } from './checks/workspace.ts';

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
  const executablePath = process.env['FORERUN_CHROMIUM'];
  if (executablePath) return chromium.launch({ ...options, executablePath });
  if (process.platform !== 'linux' || process.arch !== 'x64') return chromium.launch({ ...options, channel: 'chrome' });
  const folder = await unpackedChromium();
  // The browser brings its own Vulkan; the driver chosen for this process must not leak into it.
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    FONTCONFIG_FILE: join(folder, fontConfiguration),
    LD_LIBRARY_PATH: `${join(folder, 'lib')}:${folder}`,
  };
  delete env['VK_ICD_FILENAMES'];
  delete env['VK_DRIVER_FILES'];
  return chromium.launch({ ...options, executablePath: join(folder, 'chromium'), env });
}

/** A page whose waits end later than those of playwright's default, 30 s, which a machine busy with other tests can miss. */
export async function newPage(browser: Browser): Promise<Page> {
  const page = await browser.newPage();
  page.setDefaultTimeout(patienceMs);
  return page;
}

const fontConfiguration = 'fonts-here.conf';

/** The configuration that came with the fonts names folders of another machine; without a font, a text field ends the browser. */
function fontConfigurationOf(folder: string): string {
  return `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>${join(folder, 'fonts')}</dir><cachedir>${join(tmpdir(), 'forerun-fonts-cache')}</cachedir></fontconfig>
`;
}

/** The folder with the unpacked browser of @sparticuz/chromium, unpacked once for all processes of this checkout. */
async function unpackedChromium(): Promise<string> {
  const source = dirname(dirname(fileURLToPath(import.meta.resolve('@sparticuz/chromium'))));
  const { version } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as { version: string };
  const folder = join(root, 'node_modules', '.cache', 'forerun', `chromium-${version}`);
  if (existsSync(folder)) return folder;
  const part = `${folder}.${process.pid}.${Date.now()}.part`;
  await mkdir(part, { recursive: true });
  const open = (name: string) => createReadStream(join(source, 'bin', name));
  await Promise.all([
    pipeline(open('chromium.br'), createBrotliDecompress(), createWriteStream(join(part, 'chromium'), { mode: 0o755 })),
    ...['swiftshader.tar.br', 'al2023.tar.br', 'fonts.tar.br'].map((name) =>
      pipeline(open(name), createBrotliDecompress(), extract(part)),
    ),
  ]);
  // Written once, before anyone can read it: a browser that finds half of it has no fonts.
  writeFileSync(join(part, fontConfiguration), fontConfigurationOf(folder));
  try {
    await rename(part, folder);
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}
