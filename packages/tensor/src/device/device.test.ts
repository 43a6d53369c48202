import { describe, expect, it } from 'vitest';
import { AdapterError, DeviceLimitError, DeviceLostError, GpuValidationError } from '../errors.ts';
import { defineKernel, write } from '../kernel/define-kernel.ts';
import { requestDevice } from './device.ts';
import { usage } from './usage.ts';

const kernel = (name: string, statement: string) =>
  defineKernel({
    name,
    bindings: { y: write('u32') },
    wgsl: () => `@compute @workgroup_size(1) fn main() {\n  ${statement}\n}`,
  });

/** The error with which `body` rejects. */
async function failure(body: () => unknown): Promise<Error> {
  try {
    await body();
  } catch (error) {
    return error as Error;
  }
  throw new Error('Expected an error, but there was none.');
}

describe('requestDevice', () => {
  it('describes the adapter and turns its features and limits on', async () => {
    const device = await requestDevice();
    expect(['software', 'hardware']).toContain(device.adapter.kind);
    expect(device.adapter.description + device.adapter.device).not.toBe('');
    expect(device.limits.maxStorageBuffersPerShaderStage).toBeGreaterThanOrEqual(8);
    device.destroy();
  });

  it('gives the guaranteed limits and no optional feature when asked to be portable', async () => {
    const device = await requestDevice({ limits: 'portable' });
    expect(device.limits.maxStorageBuffersPerShaderStage).toBe(8);
    expect(device.limits.maxComputeWorkgroupStorageSize).toBe(16_384);
    expect(device.limits.maxComputeInvocationsPerWorkgroup).toBe(256);
    for (const feature of ['shader-f16', 'subgroups', 'timestamp-query'] as const) {
      expect(device.has(feature), feature).toBe(false);
    }
    device.destroy();
  });

  it('leaves out the features that it is told to', async () => {
    const device = await requestDevice({ without: ['timestamp-query', 'subgroups'] });
    expect(device.has('timestamp-query')).toBe(false);
    expect(device.has('subgroups')).toBe(false);
    device.destroy();
  });

  it('refuses an adapter of the other kind', async () => {
    const device = await requestDevice();
    const other = device.adapter.kind === 'software' ? 'hardware' : 'software';
    device.destroy();
    await expect(requestDevice({ adapter: other })).rejects.toThrow(AdapterError);
  });
});

describe('Device', () => {
  it('counts bytes by purpose, rounded up to 16, and each buffer once', async () => {
    const device = await requestDevice();
    const weights = device.storage(1000, 'some weights', 'weights');
    const states = device.storageAndUniform(64, 'a state');
    expect(device.memory).toMatchObject({ weights: 1008, states: 64, scratch: 0, total: 1072, peak: 1072 });
    weights.destroy();
    weights.destroy();
    expect(device.memory).toMatchObject({ weights: 0, total: 64, peak: 1072 });
    states.destroy();
    device.destroy();
  });

  it('refuses a buffer that is larger than the largest', async () => {
    const device = await requestDevice({ limits: 'portable' });
    const bytes = device.limits.maxBufferSize + 16;
    expect(() => device.storage(bytes, 'too large', 'other')).toThrow(DeviceLimitError);
    expect(() => device.storage(bytes, 'too large', 'other')).toThrow(/"too large".*largest buffer/);
    expect(device.memory.total).toBe(0);
    device.destroy();
  });

  it('throws what validation says of a scope, and lives on', async () => {
    const device = await requestDevice();
    const invalid = () => void device.gpu.createBuffer({ size: 16, usage: usage.mapRead | usage.storage });
    expect(await failure(() => device.scoped(invalid))).toBeInstanceOf(GpuValidationError);
    expect(await device.scoped(() => 7)).toBe(7);
    device.destroy();
  });

  it('fails for good after an error outside of any scope', async () => {
    const device = await requestDevice();
    device.gpu.createBuffer({ size: 16, usage: usage.mapRead | usage.storage });
    await expect.poll(() => failure(() => device.check())).toBeInstanceOf(GpuValidationError);
    expect(() => device.storage(16, 'after', 'other')).toThrow(GpuValidationError);
    expect(await failure(() => device.idle())).toBeInstanceOf(GpuValidationError);
    device.destroy();
  });

  it('fails as lost once it is destroyed; another device works', async () => {
    const device = await requestDevice();
    const read = device.staging.borrow(16).read(16);
    device.destroy();
    expect(await failure(() => read)).toBeInstanceOf(DeviceLostError);
    await expect.poll(() => failure(() => device.check())).toBeInstanceOf(DeviceLostError);
    expect(await failure(() => device.idle())).toBeInstanceOf(DeviceLostError);
    expect(await failure(() => device.scoped(() => 1))).toBeInstanceOf(DeviceLostError);
    const next = await requestDevice();
    await next.idle();
    next.destroy();
  });
});

describe('pipelines', () => {
  it('compiles the same source once', async () => {
    const device = await requestDevice();
    const one = kernel('one', 'y[0] = 1u;');
    const [first, second] = await Promise.all([device.pipelines.get(one, {}), device.pipelines.get(one, {})]);
    expect(second).toBe(first);
    expect(device.pipelines.count).toBe(1);
    expect(device.pipelines.compileMs).toBeGreaterThan(0);
    device.destroy();
  });

  it.each([
    ['text that is no WGSL', 'y[0] = = 1u;'],
    ['a type error', 'y[0] = 1.5f;'],
    ['an unknown name', 'y[0] = nothing;'],
  ])('names the kernel and the line of %s, and lives on', async (_, statement) => {
    const device = await requestDevice();
    const error = await failure(() => device.pipelines.get(kernel('broken', statement), {}));
    expect(error).toBeInstanceOf(GpuValidationError);
    expect(error.message).toMatch(/^Kernel broken does not compile: /);
    expect(error.message).toContain(statement);
    await device.pipelines.get(kernel('whole', 'y[0] = 1u;'), {});
    device.check();
    device.destroy();
  });
});
