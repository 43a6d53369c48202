import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root } from './checks/workspace.ts';

/** How every Deno of this repository is started: WebGPU on, sources for packages, all permissions, no downloads. */
export const denoFlags = [
  'run',
  '--unstable-webgpu',
  '--no-remote',
  '--node-modules-dir=manual',
  '--conditions=@forerun/source',
  '--allow-all',
] as const;

/** Variables for its process besides the present ones. */
export const denoVariables = { DENO_NO_UPDATE_CHECK: '1' } as const;

/** The script that starts Deno, for Node to run. */
export function denoLauncher(): string {
  return join(dirname(fileURLToPath(import.meta.resolve('deno/package.json'))), 'bin.cjs');
}

/** What a script printed and how it ended. */
export interface DenoResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a TypeScript or JavaScript file in Deno, whose WebGPU is wgpu with Naga, in this process's environment and so
 * on the same adapter. Packages of this workspace resolve to their sources; all permissions are given; nothing is
 * downloaded.
 *
 * @param script - Absolute path of the file.
 * @param parameters - The script's `Deno.args`.
 * @param timeoutMs - After this the script is killed and the promise rejects.
 */
export async function runInDeno(
  script: string,
  parameters: readonly string[] = [],
  timeoutMs = 120_000,
): Promise<DenoResult> {
  const child = spawn(process.execPath, [denoLauncher(), ...denoFlags, script, ...parameters], {
    cwd: root,
    env: { ...process.env, ...denoVariables, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => (output[stream] += text));
  }
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      // The launcher runs Deno as a child of its own: the group goes together.
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      reject(
        new Error(
          `${script} did not end in Deno within ${timeoutMs} ms; it printed:\n${output.stdout}${output.stderr}`,
        ),
      );
    }, timeoutMs);
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? 1, ...output });
    });
  });
}
