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
    pool: 'forks',
    maxWorkers: 2,
    isolate: true,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
