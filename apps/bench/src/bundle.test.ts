import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chartOf } from './plots/charts.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const app = fileURLToPath(new URL('..', import.meta.url));
const root = join(app, '../..');
const folder = mkdtempSync(join(tmpdir(), 'forerun-bundle-'));
const bundle = join(folder, 'forerun.mjs');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the bundle from elsewhere, as on a machine where nothing is installed. */
function run(...parameters: string[]): string {
  const env = { ...process.env, FORERUN_ROOT: root };
  return execFileSync(process.execPath, [bundle, ...parameters], { cwd: folder, env, encoding: 'utf8' });
}

describe('the bundle', () => {
  beforeAll(() => void execFileSync(process.execPath, [join(app, 'bundle.mjs'), bundle]));

  it('is the command line', () => {
    expect(run('--help')).toMatch(/generate.*check.*bench/s);
  });

  it('holds the scripts', () => {
    expect(run('everything', '--list')).toMatch(/stories-profile .* profile 4 --json/);
    const rows = [{ drafter: 'a', verifier: 'v', temperature: 0, acceptance_length: 1, ratio: 1, min_ratio: 1 }];
    const result = { model: 'm', rows };
    expect(() => chartOf(result)).not.toThrow();
    writeFileSync(join(folder, 'result.json'), JSON.stringify(result));
    run('plot', 'result.json', 'plot.svg');
    expect(readFileSync(join(folder, 'plot.svg'), 'utf8')).toMatch(/^<svg /);
  });
});
