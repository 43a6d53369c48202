/**
 * WebGPU for Node, from the optional peer `webgpu` (Dawn). The instance is kept on `globalThis`: once it is collected, the native
 * threads behind it crash the process.
 */
import { AdapterError } from '../errors.ts';
import type { GpuEntry } from './gpu.browser.ts';

const kept: { forerunGpu?: Map<string, GPU> } = globalThis as never;

/** The GPU entry point of this process; Dawn's toggles can be switched with `dawn`. */
export async function gpuEntry({ dawn = {}, experimental = [] }: GpuEntry = {}): Promise<GPU> {
  const provided = globalThis.navigator?.gpu;
  if (provided) return provided;
  const unsafe = experimental.length > 0 ? ['allow_unsafe_apis'] : [];
  const enable = ['vulkan_enable_f16_on_nvidia', ...unsafe, ...(dawn.enable ?? [])];
  const disable = ['timestamp_quantization', ...(dawn.disable ?? [])];
  const flags = [`enable-dawn-features=${enable.join(',')}`, `disable-dawn-features=${disable.join(',')}`];
  const key = flags.join(' ');
  kept.forerunGpu ??= new Map();
  const known = kept.forerunGpu.get(key);
  if (known) return known;
  let webgpu: typeof import('webgpu');
  try {
    webgpu = await import('webgpu');
  } catch (cause) {
    throw new AdapterError(
      'WebGPU in Node comes from the npm package "webgpu", which could not be loaded. Install it with `npm install webgpu`.',
      { cause },
    );
  }
  const gpu = webgpu.create(flags);
  kept.forerunGpu.set(key, gpu);
  return gpu;
}
