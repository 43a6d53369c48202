import { AdapterError } from '../errors.ts';

/** How to reach WebGPU. */
export interface GpuEntry {
  /** Toggles of Dawn, the implementation behind Node's WebGPU; browsers take theirs from the command line. */
  readonly dawn?: { readonly enable?: readonly string[]; readonly disable?: readonly string[] };
}

/** The GPU entry point of this page, worker or Deno process. */
export async function gpuEntry(_options: GpuEntry = {}): Promise<GPU> {
  const gpu = globalThis.navigator?.gpu;
  if (!gpu) {
    throw new AdapterError(
      'This browser has no WebGPU (navigator.gpu is missing). Use a recent Chrome, Edge, Safari or Firefox, over https or localhost.',
    );
  }
  return gpu;
}
