import { defineConfig } from 'tsup';

/** The one build of every published package: ESM, source maps, declarations, nothing bundled but the package's own files. */
export default defineConfig({
  entry: ['src/index.ts'],
  format: ['esm'],
  target: 'es2022',
  platform: 'neutral',
  dts: true,
  sourcemap: true,
  clean: true,
});
