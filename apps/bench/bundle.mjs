/**
 * Bundles the command line into one file that runs beside `node_modules/webgpu` on a machine without a registry:
 * `node apps/bench/bundle.mjs OUT.mjs`, then there `node OUT.mjs bench …`.
 */
import { build } from 'esbuild';

const [out = 'apps/bench/dist/forerun.mjs'] = process.argv.slice(2);
await build({
  entryPoints: [new URL('../../packages/forerun/src/cli.ts', import.meta.url).pathname],
  outfile: out,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  conditions: ['@forerun/source', 'node'],
  external: ['webgpu'],
  // Bundled CommonJS asks for `require`, which a module does not have.
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  logLevel: 'warning',
});
