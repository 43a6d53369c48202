import { ArgumentError, gatherRows, ShapeError, topK, trace } from '@forerun/tensor';
import { hold, randomSource, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { drawChildren } from './draw-children.ts';
import { levelTree } from './level-tree.ts';
import { medusaChoices, medusaTrees } from './medusa-choices.ts';
import { shapedTree, shapesOf, subTree } from './sub-tree.ts';
import { chainShape, consecutiveRanks, staticTree } from './tree-shape.ts';

const device = await testDevice();
const column = (data: readonly number[]) => ({ shape: [data.length], dtype: 'u32' as const, data });

describe('subTree', () => {
  it('keeps the likely part of a tree, in every width a tree of its own', () => {
    const shape = staticTree(medusaChoices('mc_sim_7b_63'));
    expect(subTree(shape, 2).paths).toEqual([[0]]);
    expect(subTree(shape, 4).paths).toEqual([[0], [1], [0, 0]]);
    expect(subTree(shape, 64)).toBe(shape);
    let before: readonly string[] = [];
    for (let width = 2; width <= 64; width++) {
      const part = subTree(shape, width);
      expect(part.width).toBe(width);
      const names = part.paths.map((path) => path.join());
      expect(names).toEqual(expect.arrayContaining([...before]));
      before = names;
    }
    expect(subTree(chainShape(8), 5)).toEqual(chainShape(5));
    for (const width of [0, 65, 2.5]) expect(() => subTree(shape, width)).toThrow(ArgumentError);
  });

  it('is what every way to name a tree comes to', () => {
    const most = { depth: 4, who: 'test' };
    for (const name of medusaTrees) {
      const shapes = shapesOf(name, most);
      expect(shapes(17)).toEqual(subTree(staticTree(medusaChoices(name)), 17));
      expect(shapesOf(medusaChoices(name), most)(17)).toEqual(shapes(17));
      expect(shapesOf(staticTree(medusaChoices(name)), most)(17)).toEqual(shapes(17));
    }
    expect(shapesOf((width) => chainShape(Math.min(width + 2, 4)), most)(3)).toEqual(chainShape(3));
    expect(() => shapesOf('mc_sim_7b_63', { depth: 3, who: 'test' })).toThrow(/test: .*1 to 3 levels.*got 4/);
    expect(() => shapesOf([], most)).toThrow(/got 0/);
    expect(() => shapesOf(() => chainShape(8), most)(4)).toThrow(/got 7/);
  });
});

it('consecutiveRanks renames ranks and leaves the rows where they are', () => {
  const shape = staticTree([[2], [5], [2, 3], [5, 0], [5, 4], [2, 3, 1]]);
  const renamed = consecutiveRanks(shape);
  expect(renamed.paths).toEqual([[0], [1], [0, 0], [1, 0], [1, 1], [0, 0, 0]]);
  expect(renamed).toMatchObject({ parents: shape.parents, depths: shape.depths, ranks: 2 });
});

describe('levelTree', () => {
  it('gives each node the candidate of its rank behind its own path', async () => {
    const shape = staticTree([[0], [2], [0, 1], [2, 0], [2, 1], [2, 1, 0]]);
    const vocabSize = 12;
    const random = randomSource(4);
    const table = Array.from({ length: vocabSize * vocabSize }, () => random.normal());
    const best = (token: number, rank: number) =>
      Array.from({ length: vocabSize }, (_, other) => other).sort(
        (a, b) => table[token * vocabSize + b]! - table[token * vocabSize + a]!,
      )[rank]!;
    const expected = [7];
    for (const [index, path] of shape.paths.entries()) {
      expected.push(best(expected[shape.parents[index + 1]!]!, path.at(-1)!));
    }
    const { outputs } = await hold(device, {
      inputs: { anchor: column([7]), table: { shape: [vocabSize, vocabSize], data: table }, ready: column([1]) },
      body: ({ anchor, table: logits, ready }) => {
        const { tokens, expanded } = levelTree(shape, {
          anchor,
          logits: gatherRows(logits, anchor),
          expand: (nodes) => gatherRows(logits, nodes.tokens),
          children: (some, { ranks }) => topK(some, ranks).indices,
        });
        expect(expanded).toEqual([0, 1, 2, 5]);
        const tree = shapedTree(shape, { tokens, width: 9, ready });
        const none = shapedTree(shape, { tokens, width: 9, ready: ready.sub(1) });
        return {
          tokens: tree.tokens,
          parents: tree.parents!.add(0),
          depths: tree.depths!.add(0),
          count: tree.count,
          none: none.count,
        };
      },
      tolerance: 0,
    });
    expect([...outputs.tokens!]).toEqual([...expected, 0, 0]);
    expect([...outputs.parents!]).toEqual([...shape.parents, 0, 0]);
    expect([...outputs.depths!]).toEqual([...shape.depths, 1, 1]);
    expect([outputs.count![0], outputs.none![0]]).toEqual([7, 1]);
  });
});

describe('drawChildren', () => {
  it('inverts what is left of each row', async () => {
    const random = randomSource(9);
    for (const [rows, vocabSize, ranks] of [
      [1, 1, 1],
      [3, 63, 4],
      [2, 1000, 10],
      [5, 100, 63],
    ] as const) {
      const weights = Array.from({ length: rows * vocabSize }, () => random.uniform());
      const { outputs } = await hold(device, {
        inputs: {
          weights: { shape: [rows, vocabSize], data: weights },
          uniforms: { shape: [rows, ranks], data: Array.from({ length: rows * ranks }, () => random.uniform()) },
        },
        body: (given) => ({ tokens: drawChildren(given.weights, given.uniforms) }),
        tolerance: 0,
      });
      const tokens = [...outputs.tokens!];
      for (let row = 0; row < rows; row++) {
        expect(new Set(tokens.slice(row * ranks, (row + 1) * ranks)).size).toBe(ranks);
      }
    }
  });

  it('gives no token where nothing is left, and never one without weight', async () => {
    const { outputs } = await hold(device, {
      inputs: {
        weights: { shape: [2, 4], data: [0, 1, 0, 0, 0, 0, 2, 2] },
        uniforms: { shape: [2, 3], data: [0, 0.99, 0.5, 0.999, 0, 0] },
      },
      body: (given) => ({ tokens: drawChildren(given.weights, given.uniforms) }),
      tolerance: 0,
    });
    expect([...outputs.tokens!]).toEqual([1, 0xffff_ffff, 0xffff_ffff, 3, 2, 0xffff_ffff]);
    trace((graph) => {
      const weights = graph.input('weights', [2, 4]);
      expect(() => drawChildren(weights, graph.input('uniforms', [3, 1]))).toThrow(ShapeError);
      expect(() => drawChildren(weights, graph.input('many', [2, 64]))).toThrow(ShapeError);
    });
  });
});
