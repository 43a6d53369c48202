import { describe, expect, it } from 'vitest';
import { ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import { hold, randomSource, testDevice } from '../../harness/index.ts';
import { countTokens, recountTokens } from './penalties.ts';

const device = await testDevice();
const capacity = 300;
const vocabSize = 9;
const history = new State({ name: 'history', shape: [capacity], dtype: 'u32' });
const counts = new State({ name: 'counts', shape: [2, vocabSize], dtype: 'u32' });
const random = randomSource(2);
const tokens = Array.from({ length: capacity }, () => random.integer(vocabSize + 1));
const one = (value: number) => ({ shape: [1], dtype: 'u32', data: [value] }) as const;

describe('countTokens', () => {
  for (const [from, to, most] of [
    [0, 1, 1],
    [17, 80, 64],
    [295, 305, 64],
    [10, 10, 64],
    [5, 200, 195],
  ] as const) {
    it(`adds entries ${from} to ${to}`, async () => {
      const { states } = await hold(device, {
        inputs: { from: one(from), to: one(to), generatedFrom: one(40) },
        body: (range) => countTokens(counts, { history, ...range, most }),
        states: new Map<State, ArrayLike<number>>([
          [history, tokens],
          [counts, Array.from({ length: 2 * vocabSize }, (_, i) => i)],
        ]),
        tolerance: 0,
      });
      const added = [...states.get(counts)!].slice(0, vocabSize).reduce((sum, count, token) => sum + count - token, 0);
      expect(added).toBe(tokens.slice(from, to).filter((token) => token < vocabSize).length);
    });
  }
});

describe('recountTokens', () => {
  for (const [to, bound] of [
    [0, 0],
    [1, 300],
    [250, 250],
    [300, 1000],
  ] as const) {
    it(`forgets what was counted and counts the first ${to}`, async () => {
      const { states } = await hold(device, {
        inputs: { to: one(to), generatedFrom: one(40) },
        body: (range) => recountTokens(counts, { history, ...range }),
        states: new Map<State, ArrayLike<number>>([
          [history, tokens],
          [counts, new Uint32Array(2 * vocabSize).fill(5)],
        ]),
        bound,
        tolerance: 0,
      });
      const generated = [...states.get(counts)!].slice(vocabSize).reduce((sum, count) => sum + count, 0);
      expect(generated).toBe(tokens.slice(40, Math.max(to, 40)).filter((token) => token < vocabSize).length);
    });
  }

  it('refuses states of other shapes', () => {
    trace((graph) => {
      const to = graph.input('to', [1], 'u32');
      expect(() => recountTokens(history, { history, to, generatedFrom: to })).toThrow(ShapeError);
      expect(() => recountTokens(counts, { history: counts, to, generatedFrom: to })).toThrow(ShapeError);
      expect(() => recountTokens(counts, { history, to: graph.input('x', [2], 'u32'), generatedFrom: to })).toThrow(
        ShapeError,
      );
    });
  });
});
