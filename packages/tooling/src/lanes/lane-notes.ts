import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from '../checks/workspace.ts';

/** Where tests run once more: wgpu in Deno, or Mesa's lavapipe under Dawn. */
export type Lane = 'deno' | 'lavapipe';

/** Variable that tells test processes their lane. */
export const laneVariable = 'FORERUN_TEST_LANE';

/** What tests of a lane note: names of kernels that they compiled, and optional features that its adapter offered. */
type Noted = 'kernels' | 'features';

const file = (lane: Lane, noted: Noted): string => join(root, 'test-output', `${noted}-${lane}.txt`);

/** Forgets what earlier runs of a lane noted. */
export function forgetNotes(lane: Lane): void {
  for (const noted of ['kernels', 'features'] as const) rmSync(file(lane, noted), { force: true });
}

/** Notes names that a test process of the lane met. */
export function note(lane: Lane, noted: Noted, names: Iterable<string>): void {
  mkdirSync(dirname(file(lane, noted)), { recursive: true });
  appendFileSync(file(lane, noted), [...names].map((name) => `${name}\n`).join(''));
}

/** All names that the lane noted since they were forgotten. */
export function notes(lane: Lane, noted: Noted): ReadonlySet<string> {
  const text = existsSync(file(lane, noted)) ? readFileSync(file(lane, noted), 'utf8') : '';
  return new Set(text.split('\n').filter((line) => line !== ''));
}
