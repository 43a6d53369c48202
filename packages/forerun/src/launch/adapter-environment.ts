/**
 * Decides which Vulkan driver a process should use, before that process starts: the loader reads its variables once,
 * so they have to be there when Node does. Outside Linux the platform's own driver is used and nothing is set.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';

/** Which implementation of Vulkan runs the work: the machine's GPU, SwiftShader, or Mesa's lavapipe. */
export type AdapterLane = 'gpu' | 'software' | 'lavapipe';

/** What a process needs in its environment to find an adapter. */
export interface AdapterEnvironment {
  readonly lane: AdapterLane;
  /**
   * Variables to set over the present environment; `FORERUN_ADAPTER` among them, so that children decide the same.
   */
  readonly variables: Readonly<Record<string, string>>;
}

const requests = ['auto', 'gpu', 'software', 'lavapipe'] as const;
const icdFolders = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d'];
const driverPackage = join('node_modules', '@sparticuz', 'chromium');

/**
 * The environment in which WebGPU finds an adapter on this machine.
 *
 * `FORERUN_ADAPTER` chooses: `gpu` (the machine's own driver), `software` (SwiftShader), `lavapipe` (Mesa, where
 * installed), or `auto`, the default: the GPU where there is one, SwiftShader where there is none. A
 * `VK_ICD_FILENAMES` or `VK_DRIVER_FILES` set by the user is respected under `auto`.
 *
 * @param environment - Variables to decide from, `process.env` by default.
 * @throws {@link Error} if the request is unknown, or if the lane that was asked for is not installed.
 */
export function adapterEnvironment(environment: NodeJS.ProcessEnv = process.env): AdapterEnvironment {
  const request = environment['FORERUN_ADAPTER'] || 'auto';
  if (!(requests as readonly string[]).includes(request)) {
    throw new Error(`FORERUN_ADAPTER must be one of ${requests.join(', ')}, not "${request}".`);
  }
  if (request === 'gpu') return machine(environment);
  if (request === 'software') return software(environment, true);
  if (request === 'lavapipe') return lavapipe(environment);
  const chosenByUser = environment['VK_ICD_FILENAMES'] || environment['VK_DRIVER_FILES'];
  if (process.platform !== 'linux' || chosenByUser || hasGpu(environment)) return machine(environment);
  return software(environment, false);
}

/**
 * The machine's own drivers; where Vulkan's loader is not installed, the one that comes with SwiftShader finds them
 * too.
 */
function machine(environment: NodeJS.ProcessEnv): AdapterEnvironment {
  const variables: Record<string, string> = { FORERUN_ADAPTER: 'gpu' };
  const folder =
    process.platform !== 'linux' || process.arch !== 'x64' || systemLoader() ? undefined : softwareDriverFolder();
  if (folder !== undefined) variables['LD_LIBRARY_PATH'] = libraryPath(environment, folder);
  return { lane: 'gpu', variables };
}

function software(environment: NodeJS.ProcessEnv, demanded: boolean): AdapterEnvironment {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    if (!demanded) return machine(environment);
    throw new Error(
      `The software adapter exists for Linux x64, not for ${process.platform} ${process.arch}: unset FORERUN_ADAPTER to use the machine's GPU.`,
    );
  }
  const folder = softwareDriverFolder();
  if (folder === undefined) {
    if (!demanded) return machine(environment);
    throw new Error(
      'The software adapter comes with the npm package @sparticuz/chromium, which was not found: install it, or unset FORERUN_ADAPTER.',
    );
  }
  return {
    lane: 'software',
    variables: { FORERUN_ADAPTER: 'software', ...vulkan(environment, join(folder, 'vk_swiftshader_icd.json'), folder) },
  };
}

function lavapipe(environment: NodeJS.ProcessEnv): AdapterEnvironment {
  const manifest = manifests().find((path) => /lvp_icd/.test(path));
  if (manifest === undefined) {
    throw new Error(
      `Mesa's lavapipe is not installed: no lvp_icd*.json in ${icdFolders.join(', ')}. On Debian install mesa-vulkan-drivers (25 or newer), or use FORERUN_ADAPTER=software.`,
    );
  }
  const loaderFolder = systemLoader() ? undefined : softwareDriverFolder();
  return {
    lane: 'lavapipe',
    variables: { FORERUN_ADAPTER: 'lavapipe', ...vulkan(environment, manifest, loaderFolder) },
  };
}

function vulkan(
  environment: NodeJS.ProcessEnv,
  manifest: string,
  loaderFolder: string | undefined,
): Record<string, string> {
  const variables: Record<string, string> = { VK_ICD_FILENAMES: manifest, VK_DRIVER_FILES: manifest };
  if (loaderFolder !== undefined) variables['LD_LIBRARY_PATH'] = libraryPath(environment, loaderFolder);
  return variables;
}

function libraryPath(environment: NodeJS.ProcessEnv, folder: string): string {
  const others = (environment['LD_LIBRARY_PATH'] ?? '')
    .split(delimiter)
    .filter((path) => path !== '' && path !== folder);
  return [folder, ...others].join(delimiter);
}

function systemLoader(): boolean {
  const folders = [
    '/usr/lib/x86_64-linux-gnu',
    '/usr/lib/aarch64-linux-gnu',
    '/usr/lib64',
    '/usr/lib',
    '/usr/local/lib',
  ];
  return folders.some((folder) => existsSync(join(folder, 'libvulkan.so.1')));
}

function manifests(): string[] {
  return icdFolders.flatMap((folder) =>
    existsSync(folder)
      ? readdirSync(folder)
          .filter((name) => name.endsWith('.json'))
          .map((name) => join(folder, name))
      : [],
  );
}

/**
 * A device node says that there may be a GPU; only asking the driver, in a process that may crash alone, says that it
 * works.
 */
function hasGpu(environment: NodeJS.ProcessEnv): boolean {
  const render = existsSync('/dev/dri') && readdirSync('/dev/dri').some((name) => name.startsWith('renderD'));
  const nodes = render || existsSync('/dev/nvidiactl') || existsSync('/dev/dxg');
  if (!nodes) return false;
  const probe = fileURLToPath(
    new URL(import.meta.url.endsWith('.ts') ? './probe-adapter.ts' : './probe-adapter.js', import.meta.url),
  );
  try {
    const answer = execFileSync(process.execPath, [probe], {
      env: { ...environment, ...machine(environment).variables },
      encoding: 'utf8',
      timeout: 30_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return answer.trim() === 'hardware';
  } catch {
    return false;
  }
}

/**
 * The unpacked SwiftShader, unpacking it on first use; undefined if the package that carries it is not installed
 * above here or above the working folder.
 */
function softwareDriverFolder(): string | undefined {
  const start = dirname(fileURLToPath(import.meta.url));
  const root = [start, process.cwd()].map(folderWithDriver).find((folder) => folder !== undefined);
  if (root === undefined) return undefined;
  const source = join(root, driverPackage);
  const { version } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as { version: string };
  const folder = join(root, 'node_modules', '.cache', 'forerun', `swiftshader-${version}`);
  if (!existsSync(join(folder, 'vk_swiftshader_icd.json'))) unpack(join(source, 'bin', 'swiftshader.tar.br'), folder);
  return folder;
}

function folderWithDriver(start: string): string | undefined {
  for (let folder = start; ; folder = dirname(folder)) {
    if (existsSync(join(folder, driverPackage, 'bin', 'swiftshader.tar.br'))) return folder;
    if (dirname(folder) === folder) return undefined;
  }
}

/**
 * Unpacks into a folder of its own and renames it into place, so that processes which start together never see half
 * of it.
 */
function unpack(archive: string, folder: string): void {
  const part = `${folder}.${process.pid}.${Date.now()}.part`;
  mkdirSync(part, { recursive: true });
  for (const { name, bytes } of tarFiles(brotliDecompressSync(readFileSync(archive)))) {
    writeFileSync(join(part, name), bytes, { mode: 0o755 });
  }
  try {
    renameSync(part, folder);
  } catch (error) {
    rmSync(part, { recursive: true, force: true });
    if (!existsSync(join(folder, 'vk_swiftshader_icd.json'))) throw error;
  }
}

/** The plain files of a flat tar archive: 512-byte headers, name at 0, octal size at 124, type at 156. */
function* tarFiles(tar: Buffer): Generator<{ name: string; bytes: Buffer }> {
  const text = (from: number, to: number): string => tar.toString('latin1', from, to).replace(/\0.*$/s, '');
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0;) {
    const name = text(at, at + 100).replace(/^\.\//, '');
    const size = Number.parseInt(text(at + 124, at + 136), 8);
    const type = text(at + 156, at + 157);
    if ((type === '' || type === '0') && !name.includes('/'))
      yield { name, bytes: tar.subarray(at + 512, at + 512 + size) };
    at += 512 + Math.ceil(size / 512) * 512;
  }
}
