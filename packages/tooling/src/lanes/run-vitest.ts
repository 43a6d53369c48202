import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { denoFlags, denoLauncher, denoVariables } from '../deno.ts';
import { root } from '../checks/workspace.ts';
import { type Lane, laneVariable } from './lane-notes.ts';

const limitMinutes = 20;

const lanes: Readonly<Record<Lane, { runtime: () => readonly string[]; variables: NodeJS.ProcessEnv }>> = {
  deno: { runtime: () => [denoLauncher(), ...denoFlags], variables: denoVariables },
  lavapipe: { runtime: () => [], variables: { FORERUN_ADAPTER: 'lavapipe' } },
};

/**
 * Runs vitest in a lane, leaving its JSON report in `test-output` under the lane's name, and stops it when it does not
 * end.
 *
 * @param parameters - Of `vitest run`: files, folders, options.
 * @returns the exit code.
 */
export function runVitest(lane: Lane, parameters: readonly string[]): Promise<number> {
  const { runtime, variables } = lanes[lane];
  const vitest = [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', '--config=vitest.lane.config.ts'];
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=test-output/${lane}.json`];
  const child = spawn(process.execPath, [...runtime(), ...vitest, ...reporters, ...parameters], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...variables, [laneVariable]: lane },
    detached: process.platform !== 'win32',
  });
  // The launcher and the test processes are one group, which a signal has to reach as a whole.
  const end = (signal: NodeJS.Signals) => {
    if (child.pid === undefined) return;
    if (process.platform === 'win32') child.kill(signal);
    else process.kill(-child.pid, signal);
  };
  process.once('SIGINT', end).once('SIGTERM', end);
  const timer = setTimeout(() => {
    console.error(`Tests in the lane ${lane} did not end within ${limitMinutes} minutes and were stopped.`);
    end('SIGKILL');
  }, limitMinutes * 60_000);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => {
      clearTimeout(timer);
      resolve(code ?? 1);
    });
  });
}
