import type { Accepted, Round, TargetOutputs, TokenTree } from '@forerun/contracts';
import { ArgumentError, noToken, type State } from '@forerun/tensor';
import { hold, randomSource, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { staticTree } from '../trees/tree-shape.ts';
import { recyclingShape } from './recycling-shape.ts';
import { type TokenRecyclingOptions, tokenRecycling } from './token-recycling.ts';

const device = await testDevice();
const vocabSize = 11;

async function propose(
  matrix: readonly number[],
  given: Omit<TokenRecyclingOptions, 'vocabSize'> & { anchor: number; width: number; branching?: boolean },
) {
  const { anchor: first, width, branching = true, ...options } = given;
  const drafter = tokenRecycling({ vocabSize, ...options });
  const state = drafter.state();
  const { outputs } = await hold(device, {
    inputs: { anchor: { shape: [1], dtype: 'u32', data: [first] } },
    body({ anchor }, graph) {
      const tree = drafter.propose({ width, anchor, decoder: { branching } } as unknown as Round, state);
      const none = graph.constant(new Uint32Array(width));
      return { tokens: tree.tokens, parents: tree.parents ?? none, depths: tree.depths ?? none, count: tree.count };
    },
    states: new Map<State, ArrayLike<number>>([[state.matrix, matrix]]),
    tolerance: 0,
  });
  return outputs;
}

async function absorb(
  matrix: readonly number[],
  given: { tokens: readonly number[]; top: readonly number[]; count: number; candidates: number },
) {
  const { tokens: rows, top, count: used, candidates } = given;
  const drafter = tokenRecycling({ vocabSize, candidates });
  const state = drafter.state();
  const { states } = await hold(device, {
    inputs: {
      tokens: { shape: [rows.length], dtype: 'u32', data: rows },
      top: { shape: [rows.length, candidates], dtype: 'u32', data: top },
      count: { shape: [1], dtype: 'u32', data: [used] },
    },
    body({ tokens, top: topTokens, count }) {
      const tree = { tokens, count } as unknown as TokenTree;
      const target = { topTokens } as unknown as TargetOutputs;
      drafter.absorb({} as unknown as Round, { tree, accepted: {} as Accepted, target }, state);
    },
    states: new Map<State, ArrayLike<number>>([[state.matrix, matrix]]),
    tolerance: 0,
  });
  return Array.from(states.get(state.matrix)!);
}

const random = randomSource(3);
const randomMatrix = (k: number) => Array.from({ length: vocabSize * k }, () => random.integer(vocabSize));

describe('tokenRecycling', () => {
  it('fills a tree from the matrix, a depth at a time', async () => {
    const matrix = Array.from({ length: vocabSize * 2 }, (_, i) => (i * 3 + 1) % vocabSize);
    const tree = () => staticTree([[0], [1], [0, 1], [1, 0], [0, 1, 1]]);
    const { tokens, parents, depths } = await propose(matrix, { candidates: 2, tree, anchor: 4, width: 8 });
    const at = (token: number, rank: number) => matrix[token * 2 + rank]!;
    const [a, b] = [at(4, 0), at(4, 1)];
    expect(Array.from(tokens!.subarray(0, 6))).toEqual([4, a, b, at(a, 1), at(b, 0), at(at(a, 1), 1)]);
    expect(Array.from(parents!)).toEqual([0, 0, 0, 1, 2, 3, 0, 0]);
    expect(Array.from(depths!)).toEqual([0, 1, 1, 2, 2, 3, 0, 0]);
  });

  it('guesses no token behind one that was not seen', async () => {
    const matrix = randomMatrix(2).map((token, i) => (Math.floor(i / 2) === 5 ? noToken : token));
    const { tokens } = await propose(matrix, { candidates: 2, anchor: 5, width: 16 });
    expect(Array.from(tokens!)).toEqual([5, ...Array.from({ length: 15 }, () => noToken)]);
  });

  it('agrees with a plain walk at every width, as a tree and as a chain', async () => {
    for (const width of [2, 3, 16, 64]) {
      for (const branching of [true, false]) {
        const { count } = await propose(randomMatrix(8), { anchor: random.integer(vocabSize), width, branching });
        expect(count![0]).toBe(width);
      }
    }
  });

  it('keeps the best tokens of the last row of each token', async () => {
    const before = randomMatrix(3);
    const top = Array.from({ length: 5 * 3 }, (_, i) => 100 + i);
    const after = await absorb(before, { tokens: [2, 7, 2, noToken, 7], top, count: 4, candidates: 3 });
    expect(after.slice(2 * 3, 3 * 3)).toEqual([106, 107, 108]);
    expect(after.slice(7 * 3, 8 * 3)).toEqual([103, 104, 105]);
    expect(after.filter((token, i) => token !== before[i])).toHaveLength(6);
    for (const rows of [1, 33, 64]) {
      const tokens = Array.from({ length: rows }, () => random.integer(vocabSize));
      const best = Array.from({ length: rows * 4 }, () => random.integer(vocabSize));
      await absorb(randomMatrix(4), { tokens, top: best, count: 1 + random.integer(rows), candidates: 4 });
    }
  });

  it('has by default the tree of the most likely nodes', () => {
    expect(recyclingShape(4, [0.5, 0.3, 0.1]).paths).toEqual([[0], [1], [0, 0]]);
    expect(recyclingShape(6, [0.5, 0.3, 0.1]).paths).toEqual([[0], [1], [0, 0], [0, 1], [1, 0]]);
    expect(recyclingShape(1).width).toBe(1);
    const chance = (path: readonly number[], p: readonly number[]) =>
      path.reduce((product, rank) => product * p[rank]!, 1);
    const p = [0.6, 0.2, 0.07];
    const chosen = recyclingShape(20, p).paths;
    const least = Math.min(...chosen.map((path) => chance(path, p)));
    const names = new Set(chosen.map(String));
    const children = [[], ...chosen].flatMap((path) => p.map((_, rank) => [...path, rank]));
    for (const path of children.filter((one) => !names.has(String(one)))) {
      expect(chance(path, p)).toBeLessThanOrEqual(least + 1e-12);
    }
  });

  it('refuses what makes no sense', () => {
    expect(() => tokenRecycling({ vocabSize: 0 })).toThrow(ArgumentError);
    expect(() => tokenRecycling({ vocabSize, candidates: 1.5 })).toThrow(ArgumentError);
    expect(() => recyclingShape(4, [0.1, 0.5])).toThrow(ArgumentError);
    expect(() => recyclingShape(4, [])).toThrow(ArgumentError);
    const drafter = tokenRecycling({ vocabSize, candidates: 1, tree: () => staticTree([[0], [1]]) });
    expect(() => drafter.propose({ width: 4 } as unknown as Round, drafter.state())).toThrow(ArgumentError);
  });
});
