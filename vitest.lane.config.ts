import { defineConfig, mergeConfig } from 'vitest/config';
import everywhere from './vitest.config.ts';

/** The same tests once more, in a lane that also says which kernels it compiled: Deno's wgpu, or lavapipe. */
export default mergeConfig(
  everywhere,
  defineConfig({ test: { setupFiles: ['packages/tooling/src/lanes/record-kernels.ts'] } }),
);
