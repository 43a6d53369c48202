import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'vite';
import { afterAll, expect, test } from 'vitest';

const app = fileURLToPath(new URL('../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'forerun-demo-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const options = { configFile: join(app, 'vite.config.ts'), logLevel: 'error', publicDir: false } as const;

test('the built page has a worker, and nothing of npm webgpu or of Node', async () => {
  await build({ ...options, build: { outDir: join(folder, 'page') } });
  const scripts = readdirSync(join(folder, 'page', 'assets')).filter((name) => name.endsWith('.js'));
  expect(scripts.some((name) => name.startsWith('worker'))).toBe(true);
  for (const name of scripts) {
    const text = readFileSync(join(folder, 'page', 'assets', name), 'utf8');
    expect(text).not.toMatch(/dawn\.node|enable-dawn-features|from"node:|import\("node:|require\("node:/);
  }
});

test('a build with npm webgpu in it fails', async () => {
  const wrong: Plugin = {
    name: 'wrong',
    transform: (code, id) =>
      id.endsWith('/page.ts') ? `${code}\nimport('webgpu').then((module) => console.log(module));` : undefined,
  };
  const external = {
    ...options,
    plugins: [wrong],
    build: { outDir: join(folder, 'wrong'), rollupOptions: { external: ['webgpu'] } },
  };
  await expect(build(external)).rejects.toThrow(/npm webgpu/);
});
