import { AdapterError } from '../errors.ts';

/** `subgroup-matrix`: prefill multiplies by the matrix units of the GPU. */
export type ExperimentalFeature = 'subgroup-matrix';

/** How to reach WebGPU. */
export interface GpuEntry {
  /**
   * Features that are no part of WebGPU yet, used where the adapter has them. Node asks Dawn for them; a browser has them only when it was
   * started with its flag for unsafe WebGPU. What they do may change with Dawn's version.
   */
  readonly experimental?: readonly ExperimentalFeature[];
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
