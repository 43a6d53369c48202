import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { predictedMs } from './kernel-section.ts';
import { figure } from './markdown.ts';
import { performancePage } from './page.ts';
import { readResults, ResultFileError } from './results.ts';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const results = at('../../results');
const page = readFileSync(at('../../../../docs/performance.md'), 'utf8');
const copy = mkdtempSync(join(tmpdir(), 'forerun-results-'));
cpSync(results, copy, { recursive: true });
afterAll(() => rmSync(copy, { recursive: true, force: true }));

describe('docs/performance.md', () => {
  it('is what the committed results say; run apps/bench/src/performance-docs.ts', () => {
    expect(page).toBe(performancePage(readResults(results)));
  });

  it('shows every step that was measured, and every peer', () => {
    const { engines, peers } = readResults(results);
    for (const [file, { contexts }] of engines) {
      expect(page).toContain(file);
      for (const { gpu_ms, ms_per_token } of contexts) {
        for (const value of [gpu_ms, ms_per_token]) expect(page).toContain(` ${figure(value)} `);
      }
    }
    for (const { stack } of peers.decode) expect(page).toContain(stack);
  });

  it('tells of trials that the log tells of', () => {
    const log = readFileSync(at('../../../../docs/log.md'), 'utf8').replaceAll(/\s+/g, ' ');
    for (const { log: words } of readResults(results).tried.entries) expect(log).toContain(words);
  });
});

describe('readResults', () => {
  const withFile = (name: string, value: unknown): (() => unknown) => {
    return () => {
      writeFileSync(join(copy, name), JSON.stringify(value));
      try {
        return performancePage(readResults(copy));
      } finally {
        rmSync(join(copy, name));
      }
    };
  };
  const hardware = { adapter: { kind: 'hardware', device: 'a card', description: '' } };

  it('takes in the results of every benchmark', () => {
    const row = { drafter: 'medusa', verifier: 'greedy', temperature: 0, acceptance_length: 2, tokens_per_second: 1 };
    const speculative = {
      ...hardware,
      model: 'm',
      prompts: 3,
      tokens: 9,
      left_out: [],
      rows: [{ ...row, ratio: 1.25, min_ratio: 1.1 }],
    };
    expect(withFile('a.json', speculative)()).toMatch(/medusa \| greedy \| 0\.000 \| 2\.00 .* 1\.25 \| 1\.10/);
    const [, engine] = readResults(results).engines[0]!;
    const round = { drafter: 'eagle-3', nodes: 16, round_ms: 7.25, break_even_acceptance_length: 1.5 };
    const point = { acceptance: 0.8, width: 4, ratio: 1.9, predicted_ratio: 2, acceptance_length: 3.3 };
    const speculation = { context: 512, replay: { points: [point] }, draft: [], heads: { eagle3: [round] } };
    const kernels = [{ name: 'a kernel', dispatches: 10, bytes: 1e9, ms: 0.6 }];
    const whole = withFile('b.json', { ...engine, arithmetic: 'f16', kernels, speculation })();
    expect(whole).toMatch(/0\.800 \| 4 \| 3\.30 \| 1\.90 \| 2\.00/);
    expect(whole).toMatch(/eagle3 \| 16 \| 7\.25 .* 1\.50/);
    expect(whole).toMatch(/a kernel \| 10 \|/);
    expect(whole).toContain('**forerun, f16**');
    const step = { ms_per_token: 4.5, gpu_ms: 3.25, encode_ms: 0.75, dispatches: 62 };
    const replay = { best: [{ ...point, width: 8, ratio: 2.75 }] };
    const readback = { median_ms: 0.125, least_ms: 0.1, trials: 9 };
    const side = { stories: { step, encode_us_per_dispatch: 12, replay, readback, text: [1] } };
    const attempts = [
      { flags: 'one', switches: ['--a'], outcome: 'not-started', why: 'the browser ended | with code 1' },
      { flags: 'two', switches: ['--b'], outcome: 'ready', browser: 'Chrome/1', adapter: hardware.adapter },
    ];
    const browser = { ...hardware, kind: 'chromium', config: 'small', attempts, node: side, chromium: side };
    const beside = withFile('d.json', { ...browser, output_checked: true, same_text: true })();
    expect(performancePage({ ...readResults(results), chromium: [] })).toContain('Not run on a GPU');
    expect(beside).not.toContain('Not run on a GPU');
    expect(beside).toMatch(/stories, Chrome\/1 \| 4\.50 \| 3\.25 \| 0\.750 \| 62 \| 12\.0 \| 8 \| 2\.75/);
    expect(beside).toMatch(/small, Node \| –/);
    expect(beside).toMatch(/0\.125 ms in Chromium .* same greedy text/);
    expect(beside).toContain('| not-started | – | the browser ended \\| with code 1 |');
    const peers = { model: 'qwen3-0.6b', engines: [{ name: 'cuda', failure: 'no card' }] };
    expect(withFile('c.json', peers)()).toMatch(/cuda \| – .* no card/);
  });

  it('refuses what was not measured on hardware, was wrong, or is no result', () => {
    const software = { decode: {}, widths: {}, adapter: { kind: 'software' } };
    for (const value of [software, { ...hardware, decode: {}, widths: {}, output_checked: false }, { other: 1 }]) {
      expect(withFile('d.json', value)).toThrow(ResultFileError);
    }
  });
});

it('predictedMs: barriers and bytes', () => {
  const { alone } = readResults(results);
  const parts = { alone, arithmetic: 'f32', passUs: 0, ceiling: 1000 } as const;
  const bytes = 1000 * alone.fraction_of_ceiling.f32 * 1e6;
  expect(predictedMs({ dispatches: 0, bytes }, parts)).toBeCloseTo(1, 12);
  expect(predictedMs({ dispatches: 1000, bytes: 0 }, parts)).toBeCloseTo(alone.dispatch_us, 12);
});
