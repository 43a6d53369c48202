import { fileURLToPath } from 'node:url';
import { defaultClientConditions, defineConfig, type Plugin } from 'vite';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** WebGPU of a page is the browser's own: a build that pulls in Node's (npm `webgpu`, a native library) is broken. */
function withoutNativeWebGpu(): Plugin {
  return {
    name: 'without-native-webgpu',
    generateBundle(_, bundle) {
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== 'chunk') continue;
        const native = [...chunk.moduleIds, ...chunk.imports, ...chunk.dynamicImports].find((id) =>
          /(^|[\\/])node_modules[\\/](\.pnpm[\\/])?webgpu[@\\/]|^webgpu$/.test(id),
        );
        if (native) this.error(`${chunk.fileName} contains npm webgpu (${native}); a page must use navigator.gpu.`);
      }
    },
  };
}

export default defineConfig({
  root: here('.'),
  base: './',
  // Files that are missing have to be missing: a page in their place would be read as a model's configuration.
  appType: 'mpa',
  publicDir: here('../../packages/tiny/models'),
  resolve: { conditions: ['@forerun/source', ...defaultClientConditions] },
  plugins: [withoutNativeWebGpu()],
  worker: { format: 'es', plugins: () => [withoutNativeWebGpu()] },
  build: { target: 'es2023', emptyOutDir: true },
});
