import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from '../checks/workspace.ts';

/** Where tests run once more: wgpu in Deno, or Mesa's lavapipe under Dawn. */
export type Lane = 'deno' | 'lavapipe';

/** Variable that tells test processes their lane. */
export const laneVariable = 'FORERUN_TEST_LANE';

const file = (lane: Lane): string => join(root, 'test-output', `kernels-${lane}.txt`);

/** Forgets what earlier runs of a lane compiled. */
export function forgetCompiledKernels(lane: Lane): void {
  rmSync(file(lane), { force: true });
}

/** Notes names of kernels that a test process of the lane compiled. */
export function noteCompiledKernels(lane: Lane, names: Iterable<string>): void {
  mkdirSync(dirname(file(lane)), { recursive: true });
  appendFileSync(file(lane), [...names].map((name) => `${name}\n`).join(''));
}

/** Names of all kernels that the lane compiled since they were forgotten. */
export function compiledKernels(lane: Lane): ReadonlySet<string> {
  const text = existsSync(file(lane)) ? readFileSync(file(lane), 'utf8') : '';
  return new Set(text.split('\n').filter((line) => line !== ''));
}
