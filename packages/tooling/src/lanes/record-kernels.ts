/** Setup of every test file in a lane: makes sure that it is the lane, and notes which kernels it compiled and what its adapter offers. */
import { afterAll } from 'vitest';
import { globals } from 'webgpu';
import { type Lane, laneVariable, note } from './lane-notes.ts';

const lane = process.env[laneVariable] as Lane | undefined;
const inDeno = 'Deno' in globalThis && globalThis.navigator?.gpu !== undefined;
if (lane === undefined || (lane === 'deno') !== inDeno) {
  throw new Error('This setup is for test lanes; start them with `npm run deno` or `npm run lavapipe`.');
}

type Classes = Pick<typeof globalThis, 'GPUAdapter' | 'GPUDevice'>;
const classes: Classes = inDeno ? globalThis : (globals as unknown as Classes);

const compiled = new Set<string>();
const compile = classes.GPUDevice.prototype.createComputePipelineAsync;
classes.GPUDevice.prototype.createComputePipelineAsync = async function (descriptor) {
  const pipeline = await compile.call(this, descriptor);
  if (descriptor.label) compiled.add(descriptor.label);
  return pipeline;
};

const offered = new Set<string>();
const request = classes.GPUAdapter.prototype.requestDevice;
classes.GPUAdapter.prototype.requestDevice = function (descriptor) {
  // The null backend, by which tests check WGSL, takes every feature and runs nothing.
  if (!/null.backend/i.test(this.info.device)) for (const feature of this.features) offered.add(feature);
  return request.call(this, descriptor);
};

afterAll(() => {
  note(lane, 'kernels', compiled);
  note(lane, 'features', offered);
});
