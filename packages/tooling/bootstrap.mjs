/**
 * First command after a clone: needs nothing but Node 20 and npm. Installs what the lockfile says, once, then hands
 * the command to `src/run.ts` under a Node that is new enough for the tools (the one that the install brought, unless
 * this one is).
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const modules = join(root, 'node_modules');
const stamp = join(modules, '.cache', 'forerun', 'installed');

function fail(message) {
  console.error(`\n${message}`);
  process.exit(1);
}

/** A digest of everything that an install depends on. */
function wanted() {
  const folders = ['packages', 'apps'].flatMap((group) =>
    readdirSync(join(root, group)).map((name) => join(root, group, name)),
  );
  const files = [root, ...folders].map((folder) => join(folder, 'package.json')).filter((file) => existsSync(file));
  const hash = createHash('sha256');
  for (const file of [...files, join(root, 'pnpm-workspace.yaml'), join(root, 'pnpm-lock.yaml')])
    hash.update(file).update(readFileSync(file));
  return hash.digest('hex');
}

function install() {
  const before = wanted();
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === before) return;
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  console.log(`Installing with ${packageManager} …`);
  const npm = process.env.npm_execpath;
  const [command, first] = npm !== undefined && /npm-cli\.c?js$/.test(npm) ? [process.execPath, [npm]] : ['npm', []];
  const parameters = [
    'exec',
    '--yes',
    `--package=${packageManager}`,
    '--',
    'pnpm',
    'install',
    '--prefer-frozen-lockfile',
  ];
  // Tools write the engine warnings of every package to a Node that is about to be replaced: kept back unless the
  // install fails.
  const result = spawnSync(command, [...first, ...parameters], {
    cwd: root,
    encoding: 'utf8',
    shell: command === 'npm' && process.platform === 'win32',
  });
  if (result.status !== 0) {
    fail(
      `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}\nThe install failed; the registry must be reachable. Run the command again to retry.`,
    );
  }
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, wanted());
}

/** The Node that runs the tools: they need 22.18 or newer, for types in source files among other things. */
function tool() {
  const brought = join(modules, `node-${process.platform}-${process.arch}`, 'bin', 'node');
  if (existsSync(brought)) return brought;
  if (process.features.typescript) return process.execPath;
  return fail(
    `Development needs Node 22.18 or newer; this is ${process.version}, and no newer one is installed for ${process.platform} ${process.arch}.`,
  );
}

install();
const node = tool();
const path = [dirname(node), join(modules, '.bin'), process.env.PATH].join(delimiter);
const result = spawnSync(node, [join(root, 'packages', 'tooling', 'src', 'run.ts'), ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, PATH: path, FORERUN_CALLER_NODE: process.execPath },
});
if (result.error !== undefined) fail(`Could not start ${node}: ${result.error.message}`);
if (result.signal !== null) process.kill(process.pid, result.signal);
process.exit(result.status ?? 1);
