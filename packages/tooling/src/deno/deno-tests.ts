/**
 * Runs the tests of the packages that have kernels under Deno, whose WebGPU is wgpu with Naga, and says which declared
 * kernels it compiled. With parameters it runs the files that they name, and counts no kernels.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { declaredKernels, kernelsNotCompiled } from '../checks/kernels.ts';
import { readWorkspace, root } from '../checks/workspace.ts';
import { compiledKernelsFile } from './compiled-kernels.ts';
import { denoFlags, denoLauncher, denoVariables } from './run-in-deno.ts';

const limitMinutes = 20;

function vitestInDeno(parameters: readonly string[]): Promise<number> {
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', '--outputFile.json=test-output/deno.json'];
  const child = spawn(
    process.execPath,
    [
      denoLauncher(),
      ...denoFlags,
      vitest,
      'run',
      '--config=vitest.deno.config.ts',
      '--passWithNoTests=false',
      ...reporters,
      ...parameters,
    ],
    { cwd: root, stdio: 'inherit', env: { ...process.env, ...denoVariables }, detached: process.platform !== 'win32' },
  );
  // The launcher and the test processes are one group, which a signal has to reach as a whole.
  const end = (signal: NodeJS.Signals) => {
    if (child.pid === undefined) return;
    if (process.platform === 'win32') child.kill(signal);
    else process.kill(-child.pid, signal);
  };
  process.once('SIGINT', end).once('SIGTERM', end);
  const timer = setTimeout(() => {
    console.error(`Tests in Deno did not end within ${limitMinutes} minutes and were stopped.`);
    end('SIGKILL');
  }, limitMinutes * 60_000);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => {
      clearTimeout(timer);
      resolve(code ?? 1);
    });
  });
}

/** Prints what was compiled; false if a kernel that needs no optional feature was not. */
function everyKernelCompiled(folders: readonly string[]): boolean {
  const declared = declaredKernels(readWorkspace().filter(({ folder }) => folders.includes(folder)));
  const text = existsSync(compiledKernelsFile) ? readFileSync(compiledKernelsFile, 'utf8') : '';
  const missing = kernelsNotCompiled(declared, new Set(text.split('\n').filter((line) => line !== '')));
  console.log(`\nwgpu compiled ${declared.length - missing.length} of ${declared.length} declared kernels.`);
  for (const { name, features } of missing.filter((kernel) => kernel.features.length > 0)) {
    console.log(`Not run in Deno, which has no ${features.join(', ')}: ${name}`);
  }
  const untested = missing.filter(({ features }) => features.length === 0);
  for (const { name, file } of untested) console.error(`No test in Deno compiled ${name} (${file})`);
  return untested.length === 0;
}

const parameters = process.argv.slice(2);
const folders = ['tensor', 'attention', 'decoding', 'drafters', 'verifiers'].map((name) => `packages/${name}`);
rmSync(compiledKernelsFile, { force: true });
const code = await vitestInDeno(parameters.length > 0 ? parameters : folders.map((folder) => `${folder}/`));
const complete = parameters.length > 0 || everyKernelCompiled(folders);
process.exit(code === 0 && complete ? 0 : 1);
