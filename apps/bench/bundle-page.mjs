import { build } from 'esbuild';
import { fileURLToPath } from 'node:url';

/** The script of the page in which the library is measured, for a browser: one module, as text. */
export async function bundlePage() {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('src/chromium/page.ts', import.meta.url))],
    bundle: true,
    write: false,
    platform: 'browser',
    format: 'esm',
    target: 'es2023',
    conditions: ['@forerun/source'],
    logLevel: 'warning',
  });
  return outputFiles[0].text;
}
