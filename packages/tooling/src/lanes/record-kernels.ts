/** Setup of every test file in a lane: makes sure that it is the lane, and notes which kernels were compiled there. */
import { afterAll } from 'vitest';
import { globals } from 'webgpu';
import { type Lane, laneVariable, noteCompiledKernels } from './compiled-kernels.ts';

const lane = process.env[laneVariable] as Lane | undefined;
const inDeno = 'Deno' in globalThis && globalThis.navigator?.gpu !== undefined;
if (lane === undefined || (lane === 'deno') !== inDeno) {
  throw new Error('This setup is for test lanes; start them with `npm run deno` or `npm run lavapipe`.');
}

const { prototype } = inDeno ? GPUDevice : (globals as { GPUDevice: typeof GPUDevice }).GPUDevice;
const compiled = new Set<string>();
const compile = prototype.createComputePipelineAsync;
prototype.createComputePipelineAsync = async function (descriptor) {
  const pipeline = await compile.call(this, descriptor);
  if (descriptor.label) compiled.add(descriptor.label);
  return pipeline;
};

afterAll(() => noteCompiledKernels(lane, compiled));
