/** The command line as a user meets it: what it prints, and with which code it ends. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { byteCheckpoint, goldenFolder } from '../../test/byte-checkpoint.ts';

const cli = fileURLToPath(new URL('../cli.ts', import.meta.url));
const { folder, remove } = byteCheckpoint();
afterAll(remove);

interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function forerun(
  parameters: readonly string[],
  options: { input?: string; interruptAt?: RegExp; env?: Record<string, string | undefined> } = {},
): Promise<Outcome> {
  // Colours are off whatever the machine asks for: a CI server's own variables would turn them on.
  const child = spawn(process.execPath, ['--conditions=@forerun/source', cli, ...parameters], {
    stdio: 'pipe',
    env: { ...process.env, FORCE_COLOR: undefined, NO_COLOR: '1', ...options.env },
  });
  let out = '';
  let err = '';
  let interrupted = false;
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
    if (interrupted || !options.interruptAt?.test(out)) return;
    interrupted = true;
    child.kill('SIGINT');
  });
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  child.stdin.end(options.input ?? '');
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
}

const common = ['--model', folder, '--capacity', '64', '--drafter', 'none'];

describe('wrong usage ends with code 2 and one message', () => {
  const wrong: readonly [what: string, parameters: string[], message: RegExp][] = [
    ['an unknown command', ['sing'], /unknown command 'sing'/],
    ['an unknown option', ['generate', '--loud'], /unknown option '--loud'/],
    ['no folder to check', ['check'], /missing required argument/],
    ['a count that is none', ['generate', 'x', '-n', 'many'], /max-tokens.*Expected a number/s],
    ['an unknown drafter', ['generate', 'x', '--drafter', 'oracle'], /none, n-gram, .*draft-model/],
    ['an option of another mode', ['check', folder, '--tokens', '5'], /belong to --exact/],
    ['a model that is not there', ['generate', 'x', '--model', '/no/such/model'], /file-missing: \/no\/such\/model/],
    ['sampling that cannot be', ['generate', 'x', ...common, '--top-p', '7'], /argument: .*topP/],
    ['a prompt past the capacity', ['generate', 'x'.repeat(80), ...common], /capacity: .*80 tokens/],
    ['a folder without a golden', ['check', '/no/such/folder'], /file-missing/],
  ];
  for (const [what, parameters, message] of wrong) {
    it(what, async () => {
      const { code, out, err } = await forerun(parameters);
      expect(err).toMatch(message);
      expect(err).not.toMatch(/\n\s+at /);
      expect([code, out]).toEqual([2, '']);
    });
  }

  it('prints the stack where it was asked for', async () => {
    const { code, err } = await forerun(['generate', 'x', '--model', '/no/such/model', '--verbose']);
    expect(err).toMatch(/\n\s+at /);
    expect(code).toBe(2);
  });
});

describe('forerun', () => {
  it('lists its commands', async () => {
    const { code, out } = await forerun(['--help']);
    for (const command of ['generate', 'chat', 'check', 'bench', 'devices', 'demo']) expect(out).toContain(command);
    expect(code).toBe(0);
  });

  it('devices: says what computes, as text and as JSON', async () => {
    const text = await forerun(['devices']);
    expect(text.out).toMatch(/kind\s+(software|hardware)/);
    const json = await forerun(['devices', '--json']);
    const { adapter, limits, features } = JSON.parse(json.out);
    expect(['software', 'hardware']).toContain(adapter.kind);
    expect(limits.maxBufferSize).toBeGreaterThan(1e6);
    expect(Array.isArray(features)).toBe(true);
  });

  it('generate: streams text in which nothing controls the terminal, and repeats it for a seed', async () => {
    const parameters = ['generate', 'Hello', ...common, '-n', '32', '-t', '1.2', '-s', '9', '--stats'];
    const { code, out, err } = await forerun(parameters);
    expect(code).toBe(0);
    expect(out.startsWith('Hello')).toBe(true);
    // oxlint-disable-next-line no-control-regex
    expect(out).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
    expect(err).toMatch(/tokens in \d+ rounds/);
    const piped = await forerun(['generate', ...parameters.slice(2), '--json'], { input: 'Hello' });
    const result = JSON.parse(piped.out);
    expect(result).toMatchObject({ prompt: 'Hello', seed: 9, adapter: { kind: expect.any(String) } });
    expect(result.tokens.length).toBe(result.statistics.generatedTokens);
  });

  it('generate: an interrupt ends it cleanly', async () => {
    // The story model goes on for seconds, so that the signal never comes too late.
    const { code, out, err } = await forerun(['generate', 'Once', '--drafter', 'none', '-n', '1000', '-t', '0'], {
      interruptAt: /Once./s,
    });
    expect(out.endsWith('\n')).toBe(true);
    expect(err).toMatch(/Interrupted/);
    expect(code).toBe(130);
  });

  it('chat: answers each line until input ends', async () => {
    const { code, out, err } = await forerun(['chat', ...common, '-n', '4', '-s', '1', '--json'], {
      input: 'one\ntwo\n',
    });
    expect(err).toMatch(/no chat template/);
    const turns = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(turns.map(({ prompt }) => prompt)).toEqual(['one', 'two']);
    expect(turns[1].statistics.reusedTokens).toBeGreaterThan(0);
    expect(code).toBe(0);
  });

  it('demo: tells the same text twice, and draws its first rounds', async () => {
    const { code, out } = await forerun(['demo', '-n', '12', '--width', '4']);
    const [plain, speculative] = out.split('Speculative.').map((part) => /Once upon a time.*/.exec(part)![0]);
    expect(speculative).toBe(plain);
    expect(out).toMatch(/^1 {2}little .*→/m);
    expect(out).toMatch(/The same text, token for token, in \d+ % fewer rounds/);
    expect(code).toBe(0);
  });

  it('demo: colours who gave each token where colours are shown', async () => {
    const env = { NO_COLOR: undefined, FORCE_COLOR: '1' };
    const { code, out } = await forerun(['demo', '-n', '4', '--width', '4'], { env });
    const [plain, speculative] = out.split('Speculative.').map((part) => /Once upon a time.*/.exec(part)![0]);
    expect(speculative).toContain('\u001b[');
    expect(stripVTControlCharacters(speculative!)).toBe(plain);
    expect(code).toBe(0);
  });

  it('check: holds folders to their goldens', async () => {
    const { code, out } = await forerun(['check', goldenFolder('llama'), goldenFolder('qwen3'), '--json']);
    const results = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(results.map(({ name, ok }) => [name, ok])).toEqual([
      ['llama', true],
      ['qwen3', true],
    ]);
    expect(code).toBe(0);
  });

  it('check --exact: compares speculative with plain output', async () => {
    const { code, out } = await forerun([
      'check',
      '--exact',
      goldenFolder('mistral-swa'),
      '--tokens',
      '12',
      '--widths',
      '4',
    ]);
    const lines = out.trim().split('\n');
    // Four that look up, the early exit and three replays; penalties on and off, greedy and sampled at three temperatures.
    expect(lines).toHaveLength(8 * 2 * 4);
    for (const line of lines) expect(line).toMatch(/^mistral-swa {2}.*equal=12\/12.*ok$/);
    expect(code).toBe(0);
  });
});
