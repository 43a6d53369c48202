import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

/** A package as installed, with a command line that does what its first word says. */
let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'forerun-launcher-'));
  await cp(join(import.meta.dirname, '..', '..', 'bin'), join(folder, 'package', 'bin'), { recursive: true });
  await mkdir(join(folder, 'package', 'dist', 'launch'), { recursive: true });
  await writeFile(join(folder, 'package', 'package.json'), '{ "type": "module" }');
  await writeFile(
    join(folder, 'package', 'dist', 'launch', 'adapter-environment.js'),
    `export const adapterEnvironment = () => {
      if (process.env.FORERUN_ADAPTER === 'broken') throw new Error('no such lane');
      return { lane: 'software', variables: { VK_ICD_FILENAMES: 'driver.json' } };
    };`,
  );
  await writeFile(
    join(folder, 'package', 'dist', 'cli.js'),
    `const [word, ...rest] = process.argv.slice(2);
    if (word === 'show') console.log(JSON.stringify({ driver: process.env.VK_ICD_FILENAMES, rest }));
    if (word === 'exit') process.exit(Number(rest[0]));
    if (word === 'wait') {
      process.on('SIGTERM', () => { console.log('stopped'); process.exit(3); });
      setInterval(() => {}, 1000);
      console.log('ready');
    }
    if (word === 'die') process.kill(process.pid, 'SIGKILL');`,
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function launch(parameters: readonly string[], variables: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [join(folder, 'package', 'bin', 'forerun.mjs'), ...parameters], {
    env: { ...process.env, ...variables },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { out: '', error: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.error += text));
  return { child, output, closed: once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]> };
}

test('arguments and the driver reach the command line', async () => {
  const { output, closed } = launch(['show', 'a b', '--json']);
  expect(await closed).toEqual([0, null]);
  expect(JSON.parse(output.out)).toEqual({ driver: 'driver.json', rest: ['a b', '--json'] });
});

test('the exit code is passed on', async () => {
  expect(await launch(['exit', '7']).closed).toEqual([7, null]);
});

test('a signal is passed on, and what the command line makes of it comes back', async () => {
  const { child, output, closed } = launch(['wait']);
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  expect(await closed).toEqual([3, null]);
  expect(output.out).toBe('ready\nstopped\n');
});

test('a command line that dies of a signal is seen to have died of it', async () => {
  expect(await launch(['die']).closed).toEqual([null, 'SIGKILL']);
});

test('a lane that cannot be had is one line and exit code 1', async () => {
  const { output, closed } = launch([], { FORERUN_ADAPTER: 'broken' });
  expect(await closed).toEqual([1, null]);
  expect(output.error).toBe('forerun: no such lane\n');
});
