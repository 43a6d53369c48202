import { describe, expect, it } from 'vitest';
import { chartOf, PlotError } from './charts.ts';
import { svgOf } from './render.ts';

const adapter = { device: 'a card' };
const row = { verifier: 'greedy', temperature: 0, acceptance_length: 2.345, ratio: 1.5, min_ratio: 1.1 };

describe('plots', () => {
  it('draws drafters beside each other, with tokens a pass', async () => {
    const rows = [
      { ...row, drafter: 'n-gram' },
      { ...row, drafter: 'medusa', temperature: 1, acceptance_length: 3.5 },
    ];
    const svg = await svgOf(chartOf({ model: '/some/where/stories/', adapter, rows }));
    expect(svg).toMatch(/^<svg /);
    for (const text of [
      'Speculation of stories on a card',
      'n-gram',
      'medusa',
      '2.35',
      '3.50',
      'greedy, temperature 1',
    ]) {
      expect(svg).toContain(text);
    }
  });

  it('draws replay by width, measured and predicted', async () => {
    const point = { acceptance: 0.5, ratio: 1.2 };
    const points = [
      { ...point, width: 4, predicted_ratio: 1.25 },
      { ...point, acceptance: 0.9, width: 4, ratio: 2, predicted_ratio: 2.1 },
      { ...point, width: 'auto' },
    ];
    const svg = await svgOf(chartOf({ config: 'qwen3-0.6b', adapter, speculation: { replay: { points } } }));
    for (const text of ['Replayed drafts of qwen3-0.6b on a card', 'auto', 'measured', 'predicted']) {
      expect(svg).toContain(text);
    }
  });

  it('refuses what it cannot draw', () => {
    for (const other of [null, {}, { rows: [] }, { speculation: {} }]) expect(() => chartOf(other)).toThrow(PlotError);
  });
});
