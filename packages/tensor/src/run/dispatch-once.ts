import type { Device } from '../device/device.ts';
import { usage } from '../device/usage.ts';
import type { AnyKernel } from '../kernel/define-kernel.ts';
import { packUniforms, uniformName } from '../kernel/define-kernel.ts';
import { grid } from '../kernel/grid.ts';

/** A dispatch outside of any program. */
export interface SingleDispatch {
  readonly kernel: AnyKernel;
  readonly constants: object;
  readonly uniforms: Readonly<Record<string, number>>;
  /** Buffers by the kernel's binding names. */
  readonly buffers: Readonly<Record<string, GPUBuffer>>;
  /** Workgroups in all, spread over a grid. */
  readonly workgroups: number;
  readonly label: string;
}

/**
 * Submits dispatches that are made once and not replayed, such as conversions of weights. Pipelines are cached, bind groups are not.
 * @returns when the device has done them: their uniforms are freed then.
 */
export async function submitOnce(
  device: Device,
  dispatches: readonly SingleDispatch[],
): Promise<{ done: Promise<void> }> {
  const pipelines = await Promise.all(
    dispatches.map(({ kernel, constants }) => device.pipelines.get(kernel, constants)),
  );
  device.check();
  const encoder = device.gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  const uniforms = dispatches.map(({ kernel, uniforms: values, buffers, workgroups, label }, i) => {
    const bytes = packUniforms(kernel, values);
    const buffer = device.buffer(bytes.length, { usage: usage.uniform | usage.copyTarget, label, purpose: 'staging' });
    device.gpu.queue.writeBuffer(buffer, 0, bytes);
    const { pipeline, layout, source } = pipelines[i]!;
    const entries = source.layout.map(({ name }, binding) => ({
      binding,
      resource: { buffer: name === uniformName ? buffer : buffers[name]! },
    }));
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.gpu.createBindGroup({ label, layout, entries }));
    pass.dispatchWorkgroups(...grid(workgroups));
    return buffer;
  });
  pass.end();
  device.gpu.queue.submit([encoder.finish()]);
  const done = device.idle().finally(() => uniforms.forEach((buffer) => buffer.destroy()));
  // Whoever waits for it sees the failure; until then it must not count as unhandled.
  done.catch(() => undefined);
  return { done };
}
