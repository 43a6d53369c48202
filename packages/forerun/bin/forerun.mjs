#!/usr/bin/env node
/**
 * The command line's first process: finds a Node and a Vulkan driver, then runs the command line in a second one that
 * starts with both.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
const repository = join(packageFolder, '..', '..');
const fromSource = existsSync(join(repository, 'pnpm-workspace.yaml'));

/** Runs a command with this process's streams, passing signals on, and ends as it ended. */
function become(command, parameters, variables) {
  const child = spawn(command, parameters, { stdio: 'inherit', env: { ...process.env, ...variables } });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    // A terminal sends its interrupt to the child as well: passed on, it would arrive twice.
    process.on(signal, () => (signal === 'SIGINT' && process.stdin.isTTY ? undefined : child.kill(signal)));
  }
  child.on('error', (error) => {
    console.error(`forerun: could not start ${command}: ${error.message}`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

if (fromSource && !process.features.typescript) {
  const node = join(repository, 'node_modules', '.bin', 'node');
  if (!existsSync(node)) {
    console.error(
      `forerun: running from source needs Node 22.18 or newer, this is ${process.version}; run "npm run setup" at the repository root.`,
    );
    process.exit(1);
  }
  become(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {});
} else {
  const launch = fromSource ? '../src/launch/adapter-environment.ts' : '../dist/launch/adapter-environment.js';
  const { adapterEnvironment } = await import(launch);
  const parameters = fromSource
    ? ['--conditions=@forerun/source', join(packageFolder, 'src', 'cli.ts')]
    : [join(packageFolder, 'dist', 'cli.js')];
  try {
    become(process.execPath, [...parameters, ...process.argv.slice(2)], adapterEnvironment().variables);
  } catch (error) {
    console.error(`forerun: ${error.message}`);
    process.exit(1);
  }
}
