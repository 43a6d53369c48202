import { readFileSync } from 'node:fs';
import { parseRope, ropeFrequencies, ropeTable } from '@forerun/tensor';
import { describe, expect, it } from 'vitest';

interface Case {
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly headDim: number;
  readonly span: number;
  readonly attentionFactor: number;
  readonly radians: readonly number[];
}

const file = new URL('../fixtures/rope/frequencies.json', import.meta.url);
const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { cases: Case[] };

describe('rope frequencies', () => {
  for (const { name, config, headDim, span, attentionFactor, radians } of cases) {
    it(`are those of transformers: ${name}`, () => {
      const frequencies = ropeFrequencies(parseRope(config, { headDim }));
      const start = ropeTable(frequencies, span) * radians.length;
      const own = frequencies.radians.subarray(start, start + radians.length);
      expect(frequencies.rotaryWidth).toBe(2 * radians.length);
      expect(frequencies.attentionFactor).toBeCloseTo(attentionFactor, 12);
      // Powers may differ in the last bit of float32; a stretched base passes that on to every speed.
      const [tolerance, unequalShare] = name === 'dynamic, long' ? [3e-7, 1] : [1.2e-7, 0.15];
      expect(radians.filter((value, i) => Math.abs(own[i]! - value) > tolerance * value)).toEqual([]);
      expect(radians.filter((value, i) => own[i] !== value).length).toBeLessThanOrEqual(radians.length * unequalShare);
    });
  }
});
