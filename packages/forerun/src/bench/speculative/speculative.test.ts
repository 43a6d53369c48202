import { ArgumentError } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { afterAll, describe, expect, it } from 'vitest';
import { byteCheckpoint } from '../../../test/byte-checkpoint.ts';
import { load } from '../../load/load.ts';
import { bar } from '../../terminal/bar.ts';
import { judgesAt, verifierMethod } from './methods.ts';
import { promptsOfFile, storyPrompts } from './prompts.ts';
import { reportSpeculative } from './speculative-report.ts';
import { speculativeReportText } from './speculative-report-text.ts';

const device = await testDevice();
const { folder, remove } = byteCheckpoint();
const model = await load(folder, { device, capacityTokens: 64 });
afterAll(() => {
  model.close();
  remove();
});

describe('reportSpeculative', () => {
  it('holds exact verifiers to the plain text, counts, and names what does not fit', async () => {
    const report = await reportSpeculative(model, {
      prompts: ['aaaaaaaa', 'x'.repeat(90)],
      drafters: ['n-gram'],
      verifiers: ['sample-and-match', 'rejection-sampling', 'traversal-verification'].map(verifierMethod),
      temperatures: [0, 1],
      tokens: 8,
      pairs: 1,
      width: 4,
    });
    expect(report.rows.map(({ verifier, temperature, output_equal }) => [verifier, temperature, output_equal])).toEqual(
      [
        ['sample-and-match', 0, true],
        ['rejection-sampling', 0, undefined],
        ['sample-and-match', 1, true],
        ['rejection-sampling', 1, undefined],
      ],
    );
    expect(report.left_out.map(({ verifier, temperature }) => [verifier, temperature])).toEqual([
      ['traversal-verification', 0],
      ['traversal-verification', 1],
    ]);
    expect(report.output_checked).toBe(true);
    for (const row of report.rows) {
      expect(row.acceptance_length).toBeGreaterThanOrEqual(1);
      expect(row.min_acceptance_length).toBeLessThanOrEqual(row.acceptance_length);
      expect(row.min_ratio).toBeLessThanOrEqual(row.ratio);
      expect(row.ratio).toBeGreaterThan(0);
    }
    const text = speculativeReportText(report);
    expect(text).toMatch(/n-gram +rejection-sampling +0\.0/);
    expect(text).toMatch(/left out: n-gram under traversal-verification\. /);
  });

  it('refuses to compare nothing', async () => {
    const nothing = { prompts: [], drafters: [], verifiers: [], temperatures: [0], tokens: 8, pairs: 1 } as const;
    await expect(reportSpeculative(model, { ...nothing, width: 4 })).rejects.toThrow(ArgumentError);
  });
});

it('judgesAt: the greedy rule is one at temperature 0 alone', () => {
  expect([0, 1].map((temperature) => judgesAt(verifierMethod('greedy'), temperature))).toEqual([true, false]);
  expect(judgesAt(verifierMethod('block-verification'), 1)).toBe(true);
});

describe('promptsOfFile', () => {
  const lines = [
    '{"turns":["first","second"]}',
    '{"prompt":"def f():"}',
    '{"question":"Why?"}',
    '"bare"',
    '{"text":"t"}',
  ];

  it('reads the fields of the public sets, spread over the file', () => {
    const content = `${lines.join('\n')}\n\n`;
    expect(promptsOfFile(content, 'p.jsonl', { count: 9 })).toEqual(['first', 'def f():', 'Why?', 'bare', 't']);
    expect(promptsOfFile(content, 'p.jsonl', { count: 2 })).toEqual(['first', 'Why?']);
    expect(promptsOfFile('"a"', 'p.jsonl', { count: 1, chat: true })).toEqual([[{ role: 'user', content: 'a' }]]);
  });

  it('says which line is wrong', () => {
    const read = (content: string) => () => promptsOfFile(content, 'p.jsonl', { count: 1 });
    expect(read('"a"\n{"answer":1}')).toThrow(/p\.jsonl, line 2: expected/);
    expect(read('{')).toThrow(/p\.jsonl, line 1: not JSON/);
    expect(read('\n')).toThrow(/a line for each prompt/);
  });

  it('ships openings that differ', () => {
    expect(new Set(storyPrompts).size).toBe(storyPrompts.length);
  });
});

it('bar: fills its share and marks a place', () => {
  expect(bar(0.5, { cells: 4 })).toBe('██  ');
  expect(bar(2, { cells: 4, mark: 0.5 })).toBe('██|█');
  expect(bar(0.25, { cells: 4, mark: 0.75 })).toBe('█  |');
});
