import { join } from 'node:path';
import { root } from '../checks/workspace.ts';

/** Where test processes in Deno note the kernels that wgpu compiled, one name a line. */
export const compiledKernelsFile = join(root, 'test-output', 'deno-kernels.txt');
