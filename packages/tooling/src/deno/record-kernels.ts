/** Setup of every test file in Deno: makes sure that it is Deno, and notes which kernels its WebGPU compiled. */
import { appendFileSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll } from 'vitest';
import { compiledKernelsFile } from './compiled-kernels.ts';

if (!('Deno' in globalThis) || globalThis.navigator?.gpu === undefined) {
  throw new Error('This setup is for tests in Deno with WebGPU; start them with `npm run deno`.');
}

const compiled = new Set<string>();
const compile = GPUDevice.prototype.createComputePipelineAsync;
GPUDevice.prototype.createComputePipelineAsync = async function (descriptor) {
  const pipeline = await compile.call(this, descriptor);
  if (descriptor.label) compiled.add(descriptor.label);
  return pipeline;
};

afterAll(() => {
  if (compiled.size === 0) return;
  mkdirSync(dirname(compiledKernelsFile), { recursive: true });
  appendFileSync(compiledKernelsFile, [...compiled].map((name) => `${name}\n`).join(''));
});
