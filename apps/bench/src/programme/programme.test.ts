import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { chosenParts, type Part, partsOf, UnknownPartError } from './parts.ts';
import { runParts } from './run-parts.ts';

const folder = mkdtempSync(join(tmpdir(), 'forerun-programme-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('partsOf', () => {
  it('names every part once, and calls only scripts that exist or commands', () => {
    const parts = partsOf({ peers: '/modules', chromium: '/chromium/start' });
    expect(new Set(parts.map(({ name }) => name)).size).toBe(parts.length);
    const scripts = readdirSync(new URL('..', import.meta.url)).map((name) => name.replace(/\.ts$/, ''));
    const known = [...scripts, 'bench', 'check', 'devices'];
    for (const { parameters } of parts) expect(known).toContain(parameters[0]);
    expect(partsOf().some(({ name }) => /^peers|^chromium/.test(name))).toBe(false);
    // Nothing is worth timing that does not compute right.
    expect(parts.slice(0, 4).map(({ name }) => name)).toEqual([
      'devices',
      'prove-goldens',
      'prove-kernels',
      'prove-exact',
    ]);
  });

  it('is chosen from by beginnings', () => {
    const names = (only: string[], skip: string[] = []) =>
      chosenParts(partsOf(), { only, skip }).map(({ name }) => name);
    expect(names(['llama-3.1-8b'], ['llama-3.1-8b-f'])).toEqual(['llama-3.1-8b-i8']);
    expect(() => names(['nothing'])).toThrow(UnknownPartError);
  });
});

describe('runParts', () => {
  const part = (name: string, code: string, seconds = 30): Part => ({ name, seconds, parameters: ['-e', code] });

  it('keeps what parts wrote, ends those that hang, and says what ran', async () => {
    const parts = [
      part('good', 'console.log(JSON.stringify({ a: 1 })); console.error("stage")'),
      part('bad', 'console.error("stage"); console.error("{\\"a\\":1}"); console.log("{}"); process.exitCode = 3'),
      part('lines', 'console.log("{}\\n{}")'),
      // Long enough for a busy machine to start it and let it print.
      part('hangs', 'console.log("{"); setInterval(() => 0, 1000)', 10),
    ];
    const summary = await runParts(parts, { folder, budgetSeconds: 600, command: [process.execPath] });
    expect(summary.parts.map(({ name, outcome, code }) => [name, outcome, code])).toEqual([
      ['good', 'done', 0],
      ['bad', 'failed', 3],
      ['lines', 'done', 0],
      ['hangs', 'timed-out', null],
    ]);
    const read = (name: string) => readFileSync(join(folder, name), 'utf8');
    expect(JSON.parse(read('good.json'))).toEqual({ a: 1 });
    expect(read('good.log')).toBe('stage\n');
    expect(read('bad.json')).toBe('{}\n');
    expect(read('lines.jsonl')).toBe('{}\n{}\n');
    expect(existsSync(join(folder, 'hangs.json'))).toBe(false);
    expect(read('hangs.partial')).toBe('{\n');
    expect(JSON.parse(read('bad.failure.json'))).toMatchObject({
      name: 'bad',
      outcome: 'failed',
      code: 3,
      measured: [{ a: 1 }],
      said: ['stage'],
    });
    expect(JSON.parse(read('hangs.failure.json'))).toMatchObject({ outcome: 'timed-out', measured: [] });
    expect(existsSync(join(folder, 'good.failure.json'))).toBe(false);
    expect(JSON.parse(read('everything.json')).parts).toHaveLength(4);
  });

  it('begins nothing when the budget is spent', async () => {
    const parts = [part('never', 'console.log(1)')];
    const summary = await runParts(parts, { folder, budgetSeconds: 1, command: [process.execPath] });
    expect(summary.parts[0]).toMatchObject({ outcome: 'left-out', code: null });
    expect(existsSync(join(folder, 'never.json'))).toBe(false);
  });
});
