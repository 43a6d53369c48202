import { defineConfig } from 'vitest/config';
import { adapterEnvironment } from './packages/forerun/src/launch/adapter-environment.ts';

// Workers are processes that inherit this environment, so the Vulkan loader finds its driver in each of them.
Object.assign(process.env, adapterEnvironment().variables);

const conditions = ['@forerun/source', 'module', 'node', 'development'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'packages/*/test/**/*.test.ts', 'apps/*/src/**/*.test.ts'],
    environment: 'node',
    globalSetup: ['packages/tooling/src/lanes/one-thread.ts'],
    pool: 'forks',
    maxWorkers: 2,
    isolate: true,
    // Limits against what never ends; what a busy machine of two cores ends late has not failed.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
