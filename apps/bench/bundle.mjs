/**
 * Bundles the command line and every script of `src` into one file, for a machine without a registry: `node apps/bench/bundle.mjs [OUT.mjs]`,
 * then there `node OUT.mjs bench …`, `node OUT.mjs profile 4`, `node OUT.mjs everything RESULTS`. It needs `node_modules/webgpu` above
 * itself, and the repository for data files: where OUT was made, or where FORERUN_ROOT says.
 */
import { build } from 'esbuild';
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundlePage } from './bundle-page.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const source = resolve(here, 'src');
const out = resolve(process.argv[2] ?? resolve(here, 'dist/forerun.mjs'));

const scripts = readdirSync(source).filter((name) => /^[a-z0-9-]+\.ts$/.test(name) && name !== 'held-out.ts');
const table = scripts.map((name) => `  ${JSON.stringify(name.slice(0, -3))}: () => import('./${name}'),`);

const entry = `
const scripts = {
${table.join('\n')}
};
const script = scripts[process.argv[2]];
if (script) process.argv.splice(2, 1);
await (script ?? (() => import('../../../packages/forerun/src/cli.ts')))();
`;

/** Files that a source names from where it stands are found from the repository's root. */
const files = {
  name: 'files',
  setup(builder) {
    builder.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      if (path.includes('node_modules') || !text.includes('import.meta.url')) return undefined;
      const place = `new URL(${JSON.stringify(relative(root, path))}, forerunRoot).href`;
      return { contents: text.replaceAll('import.meta.url', place), loader: 'ts', resolveDir: dirname(path) };
    });
  },
};

/** The page travels inside: no bundler is needed where it is served. */
const page = {
  name: 'page',
  setup(builder) {
    builder.onLoad({ filter: /chromium\/page-script\.ts$/ }, async () => ({
      contents: `export const pageScript = async () => ${JSON.stringify(await bundlePage())};`,
      loader: 'js',
    }));
  },
};

const banner = `
import { createRequire as makeRequire } from 'node:module';
import { pathToFileURL as urlOfPath } from 'node:url';
const require = makeRequire(import.meta.url);
const forerunRoot = process.env.FORERUN_ROOT
  ? urlOfPath(process.env.FORERUN_ROOT + '/')
  : new URL(${JSON.stringify(`${relative(dirname(out), root)}/`)}, import.meta.url);
`;

await build({
  stdin: { contents: entry, resolveDir: source, sourcefile: 'entry.ts', loader: 'ts' },
  outfile: out,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  conditions: ['@forerun/source', 'node'],
  external: ['webgpu', 'node-llama-cpp', 'onnxruntime-node'],
  // Bundled CommonJS asks for `require`, which a module does not have.
  banner: { js: banner },
  plugins: [page, files],
  logLevel: 'warning',
});
