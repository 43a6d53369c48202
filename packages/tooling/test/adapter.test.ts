import { expect, test } from 'vitest';
import { create } from 'webgpu';

test('a process under test finds an adapter and computes on it', async () => {
  const gpu = create([]);
  const adapter = await gpu.requestAdapter();
  if (adapter === null) throw new Error('No WebGPU adapter: see FORERUN_ADAPTER in CONTRIBUTING.md.');
  const device = await adapter.requestDevice();
  const module = device.createShaderModule({
    code: '@group(0) @binding(0) var<storage, read_write> y: array<f32>; @compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3u) { y[id.x] = f32(id.x) * 2.0; }',
  });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  const y = device.createBuffer({ size: 16, usage: 0x80 | 0x4 });
  const read = device.createBuffer({ size: 16, usage: 0x1 | 0x8 });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(
    0,
    device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: y } }],
    }),
  );
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(y, 0, read, 0, 16);
  device.queue.submit([encoder.finish()]);
  await read.mapAsync(1);
  expect([...new Float32Array(read.getMappedRange().slice(0))]).toEqual([0, 2, 4, 6]);
  read.unmap();
  device.destroy();
});
