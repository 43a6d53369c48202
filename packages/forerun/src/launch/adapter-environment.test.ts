import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { adapterEnvironment } from './adapter-environment.ts';

const onLinux = process.platform === 'linux' && process.arch === 'x64';

test('an unknown lane is refused by name', () => {
  expect(() => adapterEnvironment({ FORERUN_ADAPTER: 'cpu' })).toThrow(
    'FORERUN_ADAPTER must be one of auto, gpu, software, lavapipe, not "cpu".',
  );
});

test("the machine's own driver is not replaced", () => {
  const { lane, variables } = adapterEnvironment({ FORERUN_ADAPTER: 'gpu' });
  expect(lane).toBe('gpu');
  expect(variables).not.toHaveProperty('VK_ICD_FILENAMES');
});

test('a driver chosen by the user is left alone', () => {
  expect(adapterEnvironment({ VK_ICD_FILENAMES: '/opt/driver.json' }).lane).toBe('gpu');
});

test('the software lane names files that exist and keeps the library path that was there, or says where it can be had', () => {
  if (!onLinux) {
    expect(() => adapterEnvironment({ FORERUN_ADAPTER: 'software' })).toThrow('exists for Linux x64');
    return;
  }
  const { lane, variables } = adapterEnvironment({ FORERUN_ADAPTER: 'software', LD_LIBRARY_PATH: '/opt/lib' });
  expect(lane).toBe('software');
  const manifest = variables['VK_ICD_FILENAMES'] ?? '';
  expect(existsSync(manifest)).toBe(true);
  expect(existsSync(join(dirname(manifest), 'libvulkan.so.1'))).toBe(true);
  expect(variables['LD_LIBRARY_PATH']).toBe(`${dirname(manifest)}:/opt/lib`);
});

test('deciding again in a child changes nothing', () => {
  const first = adapterEnvironment().variables;
  expect(adapterEnvironment({ ...process.env, ...first }).variables).toEqual(first);
});

test('the process under test has an adapter of the lane that was chosen', async () => {
  const probe = spawn(process.execPath, [join(import.meta.dirname, 'probe-adapter.ts')], {
    env: { ...process.env, ...adapterEnvironment().variables },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  for await (const text of probe.stdout.setEncoding('utf8')) printed += text;
  expect(printed).toBe(adapterEnvironment().lane === 'gpu' ? 'hardware' : 'software');
});
