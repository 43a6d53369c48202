import { defineConfig } from 'tsup';

/**
 * The one build of every published package: ESM with source maps and declarations; dependencies and `#imports` stay outside.
 *
 * @param entry - Files of the package that become files of `dist`, by their path under `src`.
 */
export function preset(entry: readonly string[] = ['src/index.ts']) {
  return defineConfig({
    entry: [...entry],
    format: ['esm'],
    target: 'es2022',
    platform: 'neutral',
    external: [/^#/, /^node:/],
    dts: true,
    sourcemap: true,
    clean: true,
    silent: true,
  });
}

export default preset();
