import type { Tensor } from '@forerun/tensor';
import { noToken, ShapeError, trace } from '@forerun/tensor';
import { hold, randomSource, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import type { ChainRule } from '../chain/chain.reference.ts';
import { judgeChain } from '../chain/chain.ts';
import { draw } from '../draw/draw.ts';
import { judgeTree } from '../rejection/multi-round.ts';
import type { DraftSource } from '../rejection/multi-round.reference.ts';
import { judgeTraversal } from '../traversal/traversal-verification.ts';
import { judgeTypical, typicalThresholds } from '../typical/typical-acceptance.ts';
import type { VerdictOperands } from './verdict.ts';

const device = await testDevice();
const random = randomSource(12);

/** Random distributions over `vocabSize` tokens; sharp enough that drafts are accepted and refused. */
function distributions(rows: number, vocabSize: number, spread: number): number[] {
  return Array.from({ length: rows }, () => {
    const weights = Array.from({ length: vocabSize }, () => Math.exp(spread * random.normal()));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map((weight) => weight / total);
  }).flat();
}

interface Given {
  readonly p: readonly number[];
  readonly q: readonly number[];
  readonly tokens: readonly number[];
  readonly parents?: readonly number[];
  readonly count?: number;
}

/** Judges a tree on the device, held to the reference. */
async function judge(
  { p, q, tokens, parents, count = tokens.length }: Given,
  rule: (operands: Required<VerdictOperands> & { q: Tensor }) => Readonly<Record<string, Tensor>>,
) {
  const width = tokens.length;
  const vocabSize = p.length / width;
  const column = (data: readonly number[], dtype: 'u32' | 'f32' = 'u32') => ({ shape: [data.length], dtype, data });
  const uniforms = () =>
    column(
      Array.from({ length: width }, () => Math.floor(random.uniform() * 2 ** 24) / 2 ** 24),
      'f32',
    );
  const { outputs } = await hold(device, {
    inputs: {
      p: { shape: [width, vocabSize], data: p },
      q: { shape: [width, vocabSize], data: q },
      tokens: column(tokens),
      parents: column(parents ?? tokens),
      count: column([count]),
      accept: uniforms(),
      residual: uniforms(),
    },
    body: ({ p, q, tokens, parents: rows, count, accept, residual }) =>
      rule({ tree: { tokens, count, chain: !parents, ...(parents ? { parents: rows } : {}) }, p, q, accept, residual }),
    tolerance: 0,
  });
  return { kept: outputs.count![0]!, next: outputs.next![0]! };
}

const shapes = [
  [1, 5],
  [2, 5],
  [7, 63],
  [16, 7],
  [33, 100],
  [64, 9],
  [16, 3],
  [12, 2],
] as const;

function chainOf(width: number, vocabSize: number): Given {
  return {
    p: distributions(width, vocabSize, 0.5),
    q: distributions(width, vocabSize, 0.5),
    tokens: Array.from({ length: width }, () => random.integer(vocabSize)),
    count: 1 + random.integer(width),
  };
}

function treeOf(width: number, vocabSize: number): Given {
  const chain = chainOf(width, vocabSize);
  return {
    ...chain,
    count: width,
    parents: chain.tokens.map((_, row) => (row === 0 ? 0 : Math.max(0, row - 1 - random.integer(5)))),
  };
}

describe('verdicts by distributions agree with float64', () => {
  for (const rule of ['draft', 'block'] as ChainRule[]) {
    it(`on chains, ${rule}`, async () => {
      let kept = 0;
      for (const [width, vocabSize] of shapes) {
        const given = chainOf(width, vocabSize);
        kept += (await judge(given, (operands) => ({ ...judgeChain(operands, { rule }) }))).kept - 1;
        await judge(given, (operands) => ({ ...judgeChain({ ...operands, q: undefined }, { rule }) }));
      }
      expect(kept).toBeGreaterThan(3);
    });
  }

  for (const source of ['certain', 'with-replacement', 'without-replacement'] as DraftSource[]) {
    it(`on trees, ${source}`, async () => {
      let kept = 0;
      for (const [width, vocabSize] of shapes) {
        kept += (await judge(treeOf(width, vocabSize), (operands) => ({ ...judgeTree(operands, source) }))).kept - 1;
      }
      expect(kept).toBeGreaterThan(1);
    });
  }

  it('on trees, traversal', async () => {
    let kept = 0;
    for (const [width, vocabSize] of shapes) {
      kept += (await judge(treeOf(width, vocabSize), (operands) => ({ ...judgeTraversal(operands, width) }))).kept - 1;
    }
    expect(kept).toBeGreaterThan(1);
  });

  it('on trees, typical', async () => {
    for (const [width, vocabSize] of shapes) {
      await judge(treeOf(width, vocabSize), ({ tree, p, residual }) => {
        const thresholds = p.graph.constant(new Float32Array(width).fill(1 / vocabSize));
        return { ...judgeTypical(tree, { p, thresholds, next: draw(p, residual) }) };
      });
    }
  });

  it('in the thresholds of typical acceptance', async () => {
    for (const vocabSize of [1, 63, 1000]) {
      await hold(device, {
        inputs: { p: { shape: [3, vocabSize], data: distributions(3, vocabSize, 2) } },
        body: ({ p }) => ({ y: typicalThresholds(p), other: typicalThresholds(p, { epsilon: 0.3, delta: 0.09 }) }),
        tolerance: 1e-5,
      });
    }
  });
});

describe('a verdict', () => {
  const rules: Readonly<Record<string, (operands: VerdictOperands & { q: Tensor }) => object>> = {
    block: (operands) => judgeChain({ ...operands, tree: { ...operands.tree, chain: true } }, { rule: 'block' }),
    draft: (operands) => judgeChain({ ...operands, tree: { ...operands.tree, chain: true } }, { rule: 'draft' }),
    rejection: (operands) => judgeTree(operands, 'without-replacement'),
    traversal: (operands) => judgeTraversal(operands, 3),
  };
  for (const [name, rule] of Object.entries(rules)) {
    it(`says so where a row was broken, and takes no token that is no id: ${name}`, async () => {
      const q = Array.from({ length: 8 }, () => 0.25);
      const zero = { p: Array.from({ length: 8 }, () => 0), q, tokens: [0, 1], parents: [0, 0] };
      expect(await judge(zero, (operands) => ({ ...rule(operands) }))).toEqual({ kept: 1, next: noToken });
      const alien = { p: q, q, tokens: [0, noToken], parents: [0, 0] };
      const { kept, next } = await judge(alien, (operands) => ({ ...rule(operands) }));
      expect(kept).toBe(1);
      expect(next).toBeLessThan(4);
    });

    it(`keeps a draft that target and draft agree on: ${name}`, async () => {
      const sure = [0, 0, 1, 0, 0, 0, 1, 0];
      const { kept } = await judge({ p: sure, q: sure, tokens: [0, 2], parents: [0, 0] }, (operands) => ({
        ...rule(operands),
      }));
      expect(kept).toBe(2);
    });
  }

  it('refuses operands that do not fit', () => {
    trace((graph) => {
      const p = graph.input('p', [3, 4]);
      const tokens = graph.input('tokens', [3], 'u32');
      const count = graph.input('count', [1], 'u32');
      const [accept, short] = [graph.input('accept', [3]), graph.input('short', [2])];
      const tree = { tokens, count, chain: true };
      expect(() => judgeChain({ tree, p, accept, residual: short }, { rule: 'block' })).toThrow(ShapeError);
      expect(() => judgeTree({ tree: { ...tree, chain: false }, p, accept, residual: accept }, 'certain')).toThrow(
        ShapeError,
      );
      expect(() => draw(p, short)).toThrow(ShapeError);
    });
  });
});
