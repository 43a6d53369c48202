import { readFileSync } from 'node:fs';
import { defineConfig } from 'tsup';

/**
 * The one build of every published package: ESM with source maps and declarations; dependencies and `#imports` stay
 * outside. What package.json names under the condition `@forerun/source`, in `exports` or `imports`, becomes a file
 * of `dist` at the same path.
 *
 * @param others - Further source files to build, such as a command line.
 */
export function preset(others: readonly string[] = []) {
  const { exports, imports } = JSON.parse(readFileSync('package.json', 'utf8')) as Record<string, unknown>;
  const sources = [...sourcesIn(exports), ...sourcesIn(imports), ...others].map((path) => path.replace(/^\.\//, ''));
  return defineConfig({
    entry: Object.fromEntries(sources.map((path) => [path.replace(/^src\/|\.ts$/g, ''), path])),
    format: ['esm'],
    target: 'es2022',
    platform: 'neutral',
    removeNodeProtocol: false,
    external: [/^#/, /^node:/],
    dts: true,
    sourcemap: true,
    clean: true,
    silent: true,
  });
}

function sourcesIn(conditions: unknown): string[] {
  if (typeof conditions !== 'object' || conditions === null) return [];
  return Object.entries(conditions).flatMap(([name, value]) =>
    name === '@forerun/source' && typeof value === 'string' ? [value] : sourcesIn(value),
  );
}

export default preset();
