import type { Device } from '../device/device.ts';
import { usage } from '../device/usage.ts';
import { packUniforms } from '../kernel/define-kernel.ts';
import type { PlannedDispatch } from './lower.ts';

/** Uniform structs of all dispatches in one buffer, equal ones once. They never change after this. */
export function packProgramUniforms(
  device: Device,
  name: string,
  dispatches: readonly PlannedDispatch[],
): { buffer: GPUBuffer | undefined; offsets: readonly (number | undefined)[] } {
  const structs = new Map<string, { offset: number; bytes: Uint8Array<ArrayBuffer> }>();
  let end = 0;
  const offsets = dispatches.map(({ kernel, uniforms }) => {
    if (Object.keys(kernel.uniforms).length === 0) return undefined;
    const bytes = packUniforms(kernel, uniforms);
    const key = bytes.join();
    const known = structs.get(key);
    if (known) return known.offset;
    const offset = end;
    structs.set(key, { offset, bytes });
    end = Math.ceil((end + bytes.length) / 256) * 256;
    return offset;
  });
  if (structs.size === 0) return { buffer: undefined, offsets };
  const buffer = device.buffer(end, {
    usage: usage.uniform | usage.copyTarget,
    label: `${name} uniforms`,
    purpose: 'other',
  });
  for (const { offset, bytes } of structs.values()) device.gpu.queue.writeBuffer(buffer, offset, bytes);
  return { buffer, offsets };
}
