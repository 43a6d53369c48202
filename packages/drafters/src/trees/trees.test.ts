import type { Tensor } from '@forerun/tensor';
import { ArgumentError, gatherRows, ShapeError, trace } from '@forerun/tensor';
import { hold, randomSource, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import type { BeamTreeOptions } from './beam-tree.ts';
import { beamTree } from './beam-tree.ts';
import { bestFirstTree } from './best-first.ts';
import { candidateTree } from './candidate-tree.ts';
import { medusaChoices, medusaTrees } from './medusa-choices.ts';
import { poolTree } from './pool-tree.ts';
import { sequoiaTree } from './sequoia.ts';
import { candidateIndexes, chainShape, leafPaths, staticTree, treeMask } from './tree-shape.ts';

const device = await testDevice();
const column = (data: readonly number[]) => ({ shape: [data.length], dtype: 'u32' as const, data });

describe('staticTree', () => {
  const shape = staticTree([[1], [0, 1], [0], [0, 0], [0, 1, 2]]);

  it('sorts paths and names parents', () => {
    expect(shape.paths).toEqual([[0], [1], [0, 0], [0, 1], [0, 1, 2]]);
    expect(shape).toMatchObject({
      width: 6,
      depth: 3,
      parents: [0, 0, 0, 1, 1, 4],
      depths: [0, 1, 1, 2, 2, 3],
      ranks: 3,
    });
    expect(leafPaths(shape)).toEqual([
      [0, 1, 4, 5],
      [0, 1, 3],
      [0, 2],
    ]);
    expect([...treeMask(shape).subarray(30)]).toEqual([1, 1, 0, 0, 1, 1]);
    expect(candidateIndexes(shape, 10)).toEqual([0, 1, 2, 11, 12, 23]);
  });

  it('makes chains and the published trees', () => {
    expect(chainShape(4)).toMatchObject({ width: 4, depth: 3, parents: [0, 0, 1, 2], ranks: 1 });
    expect(staticTree([])).toMatchObject({ width: 1, depth: 0, parents: [0] });
    expect(medusaTrees).toHaveLength(9);
    for (const name of medusaTrees) expect(staticTree(medusaChoices(name)).width).toBe(64);
  });

  it('refuses lists that are no trees', () => {
    for (const choices of [[[0, 1]], [[0], [0]], [[]], [[-1]], [[0.5]], Array.from({ length: 64 }, (_, i) => [i])]) {
      expect(() => staticTree(choices)).toThrow(ArgumentError);
    }
  });

  it('is filled with candidates', async () => {
    const { outputs } = await hold(device, {
      inputs: { anchor: column([99]), candidates: { shape: [3, 3], dtype: 'u32', data: [1, 2, 3, 4, 5, 6, 7, 8, 9] } },
      body: ({ anchor, candidates }) => {
        const { tokens, parents, depths, count } = candidateTree(shape, { anchor, candidates });
        return { tokens, parents: parents!.add(0), depths: depths!.add(0), count: count.add(0) };
      },
      tolerance: 0,
    });
    expect([...outputs.tokens!]).toEqual([99, 1, 2, 4, 5, 9]);
    expect([...outputs.count!]).toEqual([6]);
    trace((graph) => {
      const [anchor, few] = [graph.input('anchor', [1], 'u32'), graph.input('few', [3, 2], 'u32')];
      expect(() => candidateTree(shape, { anchor, candidates: few })).toThrow(ShapeError);
      expect(candidateTree(chainShape(3), { anchor, candidates: few }).chain).toBe(true);
    });
  });
});

describe('bestFirstTree', () => {
  /** Runs the kernel beside its reference; candidate r of depth d is token `d * ranks + r`. */
  async function grow(logs: readonly (readonly number[])[], width: number) {
    const [levels, ranks] = [logs.length, logs[0]!.length];
    const { outputs } = await hold(device, {
      inputs: {
        anchor: column([7]),
        candidates: { shape: [levels, ranks], dtype: 'u32', data: Array.from(Array(levels * ranks).keys()) },
        logs: { shape: [levels, ranks], data: logs.flat() },
      },
      body: ({ anchor, candidates, logs: logProbabilities }) => {
        const tree = bestFirstTree({ anchor, candidates, logProbabilities }, width);
        return { tokens: tree.tokens, parents: tree.parents!, depths: tree.depths!, count: tree.count };
      },
      tolerance: 0,
    });
    const used = outputs.count![0]!;
    const ranksOf = (row: number): number[] =>
      row === 0 ? [] : [...ranksOf(outputs.parents![row]!), outputs.tokens![row]! % ranks];
    const paths = Array.from({ length: used - 1 }, (_, index) => ranksOf(index + 1));
    // A node comes behind its parent, one depth up.
    for (let row = 1; row < used; row++) {
      expect(outputs.parents![row]).toBeLessThan(row);
      expect(outputs.depths![row]).toBe(outputs.depths![outputs.parents![row]!]! + 1);
      expect(Math.floor(outputs.tokens![row]! / ranks)).toBe(outputs.depths![row]! - 1);
    }
    return paths;
  }

  /** Every path there is with its score, the most likely `count` of each depth. */
  function allPaths(logs: readonly (readonly number[])[], count: number) {
    let paths: { score: number; path: readonly number[] }[] = [{ score: 0, path: [] }];
    return logs
      .flatMap((level) => {
        paths = paths
          .flatMap(({ score, path }) => level.map((log, rank) => ({ score: score + log, path: [...path, rank] })))
          .sort((a, b) => b.score - a.score)
          .slice(0, count);
        return paths;
      })
      .sort((a, b) => b.score - a.score);
  }

  it('takes the most likely paths, parents first', async () => {
    const random = randomSource(3);
    for (const [levels, ranks, ...widths] of [
      [1, 1, 4],
      [3, 2, 1, 8],
      [5, 10, 2, 5, 33],
      [15, 7, 16, 64],
    ] as const) {
      // From heads that are nearly sure to such that hardly know.
      const logs = Array.from({ length: levels }, (_, level) => {
        const sharpness = 0.5 + 4 * ((level * 0.37) % 1);
        const weights = Array.from({ length: ranks }, () => Math.exp(sharpness * random.normal())).sort(
          (a, b) => b - a,
        );
        const total = weights.reduce((sum, weight) => sum + weight, 0.1);
        return weights.map((weight) => Math.fround(Math.log(weight / total)));
      });
      for (const width of widths) {
        const all = allPaths(logs, width);
        const paths = await grow(logs, width);
        expect(paths).toHaveLength(Math.min(width - 1, all.length));
        expect(paths).toEqual(all.slice(0, paths.length).map(({ path }) => path));
      }
    }
  });

  it('takes of equal nodes the one that came up first, siblings before children', async () => {
    const even = Array.from({ length: 3 }, () => [-1, -1]);
    expect(await grow(even, 9)).toEqual([[0], [1], [0, 0], [1, 0], [0, 1], [1, 1], [0, 0, 0], [1, 0, 0]]);
    // A sure token costs nothing: it ties with its parent, and with the parent's sibling.
    const sure = [
      [-1, -1],
      [0, -1],
    ];
    expect(await grow(sure, 6)).toEqual([[0], [1], [0, 0], [1, 0], [0, 1]]);
  });

  it('leaves tokens that cannot come out of the tree', async () => {
    const logs = [
      [-0.5, -3e38],
      [-3e38, -3e38],
    ];
    expect(await grow(logs, 8)).toEqual([[0]]);
  });

  it('refuses what does not fit', () => {
    trace((graph) => {
      const anchor = graph.input('anchor', [1], 'u32');
      const [candidates, logProbabilities] = [graph.input('candidates', [2, 3], 'u32'), graph.input('logs', [2, 2])];
      expect(() => bestFirstTree({ anchor, candidates, logProbabilities }, 4)).toThrow(ShapeError);
      const fitting = { anchor, candidates, logProbabilities: graph.input('fitting', [2, 3]) };
      expect(() => bestFirstTree(fitting, 0)).toThrow(ArgumentError);
      expect(() => bestFirstTree(fitting, 65)).toThrow(/from 1 to 64, got 65/);
    });
  });
});

/** Logits behind a token: a fixed table. */
const vocabSize = 40;
function draftTable(): number[] {
  const random = randomSource(17);
  return Array.from({ length: vocabSize * vocabSize }, () => 2 * random.normal());
}

describe('beamTree', () => {
  const grow = (given: { anchor: Tensor; table: Tensor }, rest: Pick<BeamTreeOptions, 'width' | 'depth' | 'beams'>) =>
    beamTree({
      anchor: given.anchor,
      logits: gatherRows(given.table, given.anchor),
      expand: ({ tokens }) => gatherRows(given.table, tokens),
      ...rest,
    });

  it('grows what a host search grows', async () => {
    const table = draftTable().map(Math.fround);
    const logs = Array.from({ length: vocabSize }, (_, token) => {
      const row = table.slice(token * vocabSize, (token + 1) * vocabSize);
      const total = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
      return row.map((logit) => logit - total);
    });
    for (const [beams, depth, width] of [
      [1, 3, 4],
      [3, 1, 8],
      [4, 4, 16],
      [10, 3, 60],
    ] as const) {
      const { outputs } = await hold(device, {
        inputs: { anchor: column([5]), table: { shape: [vocabSize, vocabSize], data: table } },
        body: (given) => {
          const { tokens, parents, depths, count } = grow(given, { width, depth, beams });
          return { tokens, parents: parents!, depths: depths!, count };
        },
        tolerance: 0,
      });
      interface Node {
        readonly name: string;
        readonly token: number;
        readonly score: number;
      }
      const children = (node: Node): Node[] =>
        logs[node.token]!.map((log, token) => ({ name: `${node.name} ${token}`, token, score: node.score + log }))
          .sort((a, b) => b.score - a.score)
          .slice(0, beams);
      const best = (nodes: Node[], count: number) => [...nodes].sort((a, b) => b.score - a.score).slice(0, count);
      let level = children({ name: '', token: 5, score: 0 });
      const pool = [...level];
      for (let at = 2; at <= depth; at++) {
        const seen = level.flatMap(children);
        pool.push(...seen);
        level = best(seen, beams);
      }
      const used = outputs.count![0]!;
      expect(used).toBe(Math.min(width, pool.length + 1));
      const nameOf = (row: number): string =>
        row === 0 ? '' : `${nameOf(outputs.parents![row]!)} ${outputs.tokens![row]}`;
      const names = Array.from({ length: used - 1 }, (_, i) => nameOf(i + 1));
      expect(new Set(names)).toEqual(new Set(best(pool, used - 1).map(({ name }) => name)));
      names.forEach((name, i) => expect(outputs.depths![i + 1]).toBe(name.split(' ').length - 1));
    }
  });

  it('refuses what cannot be grown', () => {
    trace((graph) => {
      const given = { anchor: graph.input('anchor', [1], 'u32'), table: graph.input('table', [vocabSize, vocabSize]) };
      expect(() => grow(given, { width: 4, depth: 2, beams: 0 })).toThrow(ArgumentError);
      expect(() => grow(given, { width: 4, depth: 0, beams: 2 })).toThrow(ArgumentError);
      expect(() => grow(given, { width: 65, depth: 2, beams: 2 })).toThrow(ArgumentError);
    });
  });
});

describe('poolTree', () => {
  it('takes the first of equal nodes, and leaves rows without a node out of use', async () => {
    const run = (scores: number[], width: number) =>
      hold(device, {
        inputs: {
          anchor: column([9]),
          tokens: column([1, 2, 3, 4]),
          parents: column([0, 1, 2, 0]),
          scores: { shape: [4], data: scores },
        },
        body: ({ anchor, tokens, parents, scores: ranked }) => {
          const tree = poolTree(anchor, { tokens, parents, scores: ranked, depth: 3 }, width);
          return { tokens: tree.tokens, parents: tree.parents!, depths: tree.depths!, count: tree.count };
        },
        tolerance: 0,
      });
    const ties = await run([-1, -1, -1, -1], 4);
    expect([...ties.outputs.tokens!]).toEqual([9, 1, 2, 3]);
    expect([...ties.outputs.depths!]).toEqual([0, 1, 2, 3]);
    const few = await run([-1, -3e38, -3e38, -2], 4);
    expect([...few.outputs.tokens!.subarray(0, few.outputs.count![0])]).toEqual([9, 1, 4]);
  });
});

describe('sequoiaTree', () => {
  /** Expected accepted rows of the best tree of `rows` rows, by trying all. */
  function tryAll(acceptance: readonly number[], rows: number, depth: number): number {
    const spread = (rank: number, left: number): number => {
      let best = 0;
      if (rank === acceptance.length || depth === 0) return 0;
      for (let size = 1; size <= left; size++) {
        const own = acceptance[rank]! * tryAll(acceptance, size, depth - 1);
        best = Math.max(best, own + spread(rank + 1, left - size));
      }
      return best;
    };
    return 1 + spread(0, rows - 1);
  }

  const expectedOf = (paths: readonly (readonly number[])[], acceptance: readonly number[]) =>
    1 + paths.reduce((sum, path) => sum + path.reduce((product, rank) => product * acceptance[rank]!, 1), 0);

  it('finds the best tree of a width', () => {
    const acceptance = [0.5, 0.2, 0.1];
    for (const width of [1, 2, 4, 7, 8]) {
      const only = sequoiaTree({
        acceptance,
        roundMs: (w, d) => (w === width && d === 3 ? 1 : 1e6),
        maxWidth: 8,
        maxDepth: 3,
      });
      expect(only.shape.width).toBe(width);
      expect(only.shape.depth).toBeLessThanOrEqual(3);
      expect(only.expectedTokens).toBeCloseTo(tryAll(acceptance, width, 3), 12);
      expect(only.expectedTokens).toBeCloseTo(expectedOf(only.shape.paths, acceptance), 12);
    }
  });

  it('weighs tokens against time', () => {
    const acceptance = [0.7, 0.15, 0.05];
    expect(sequoiaTree({ acceptance, roundMs: (width) => width }).shape.width).toBe(1);
    const free = sequoiaTree({ acceptance, roundMs: () => 1 });
    expect(free.shape.width).toBe(64);
    const stepped = sequoiaTree({ acceptance, roundMs: (width) => (width <= 8 ? 1 : 3) });
    expect(stepped.shape.width).toBe(8);
    expect(stepped.tokensPerMs).toBeCloseTo(stepped.expectedTokens, 12);
  });

  it('refuses measurements that make no sense', () => {
    const roundMs = () => 1;
    expect(() => sequoiaTree({ acceptance: [0.9, 0.2], roundMs })).toThrow(ArgumentError);
    expect(() => sequoiaTree({ acceptance: [NaN], roundMs })).toThrow(ArgumentError);
    expect(() => sequoiaTree({ acceptance: [0.5], roundMs: () => 0 })).toThrow(ArgumentError);
    expect(() => sequoiaTree({ acceptance: [0.5], roundMs, maxWidth: 65 })).toThrow(ArgumentError);
  });
});
