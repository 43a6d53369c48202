/** What `forerun bench` refuses before anything is measured. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const cli = fileURLToPath(new URL('../cli.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'forerun-bench-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const broken = join(folder, 'broken.json');
writeFileSync(broken, '{');

function bench(...parameters: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, ['--conditions=@forerun/source', cli, 'bench', ...parameters]);
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
}

describe('forerun bench ends with code 2 and one message for', () => {
  const wrong: readonly [what: string, parameters: string[], message: RegExp][] = [
    ['a shape without weights', ['--config', 'qwen3-0.6b'], /say --random too/],
    ['a configuration that is not there', ['--config', 'no-such', '--random'], /--config: .*llama-3\.1-8b/],
    ['a draft that is no JSON', ['--config', 'qwen3-0.6b', '--random', '--draft', broken], /--draft: .*not JSON/],
    ['an acceptance above 1', ['--config', 'qwen3-0.6b', '--acceptances', '0.5,2'], /from 0 to 1/],
    ['an unknown verifier', ['speculative', '--verifiers', 'greedy,wishful'], /sample-and-match, greedy/],
    ['an option of its own that is wrong', ['speculative', '--width', 'broad'], /Expected a number/],
  ];
  it.each(wrong)('%s', async (_, parameters, message) => {
    const { code, out, err } = await bench(...parameters);
    expect(err).toMatch(message);
    expect(err).not.toMatch(/\n\s+at /);
    expect([code, out]).toEqual([2, '']);
  });
});
