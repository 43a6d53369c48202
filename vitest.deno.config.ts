import { defineConfig, mergeConfig } from 'vitest/config';
import everywhere from './vitest.config.ts';

/** For vitest run by Deno: the same tests on the other implementation of WebGPU. `npm run deno` uses it. */
export default mergeConfig(
  everywhere,
  defineConfig({ test: { setupFiles: ['packages/tooling/src/deno/record-kernels.ts'] } }),
);
