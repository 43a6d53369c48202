/** What comes out of verifiers on the device has the distribution that exact enumeration gives, and that is the target's. */
import type { Round, TokenTree, Verifier } from '@forerun/contracts';
import type { Tensor } from '@forerun/tensor';
import {
  Commands,
  compile,
  concat,
  gatherRows,
  packSampling,
  readState,
  samplingWords,
  State,
  StateBuffers,
  topK,
  trace,
  writeRows,
  writeState,
} from '@forerun/tensor';
import { randomSource, testDevice } from '@forerun/tensor/harness';
import { expect, it } from 'vitest';
import { blockVerification } from '../block/block-verification.ts';
import { blockReference, rejectionReference } from '../chain/chain.reference.ts';
import type { Chance } from '../chance/chance.ts';
import { enumerateChances } from '../chance/chance.ts';
import { draw } from '../draw/draw.ts';
import { philoxNoise } from '../noise/philox-noise.ts';
import { multiRoundReference } from '../rejection/multi-round.reference.ts';
import { rejectionSampling } from '../rejection/rejection-sampling.ts';
import { matchReference } from '../sample-and-match/match.reference.ts';
import { sampleAndMatch } from '../sample-and-match/sample-and-match.ts';
import { traversalReference } from '../traversal/traversal.reference.ts';
import { traversalVerification } from '../traversal/traversal-verification.ts';
import type { HostTree, HostVerdict } from './verdict.ts';

const device = await testDevice();
const vocabSize = 4;
const rounds = 1500;
const random = randomSource(31);

/** Next-token distributions by the token before. */
function table(): number[][] {
  return Array.from({ length: vocabSize }, () => {
    const weights = Array.from({ length: vocabSize }, () => Math.exp(random.normal()));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map((weight) => weight / total);
  });
}
const target = table();
const drafts = table();
const anchor = 1;

/** P(chi-square of `freedom` degrees > value), by Wilson and Hilferty's normal approximation. */
function tail(value: number, freedom: number): number {
  const z = (Math.cbrt(value / freedom) - (1 - 2 / (9 * freedom))) / Math.sqrt(2 / (9 * freedom));
  const t = 1 / (1 + 0.3275911 * (Math.abs(z) / Math.SQRT2));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const upper = 0.5 * series * Math.exp((-z * z) / 2);
  return z > 0 ? upper : 1 - upper;
}

type Shape = 'chain' | 'tree';
/** A chain of two drafts, or two children under the anchor with a child each. */
const parentRows: Readonly<Record<Shape, readonly number[]>> = { chain: [0, 0, 1], tree: [0, 0, 0, 1, 2] };

interface Method {
  readonly verifier: Verifier;
  readonly shape: Shape;
  readonly replacement?: boolean;
  readonly judge: (tree: HostTree, chance: Chance) => HostVerdict;
}

const rowsOf = (source: readonly number[][], { tokens }: HostTree) => Array.from(tokens, (token) => source[token]!);
const both = (tree: HostTree) => ({ p: rowsOf(target, tree), q: rowsOf(drafts, tree) });

const methods: Readonly<Record<string, Method>> = {
  'rejection on a chain': {
    verifier: rejectionSampling(),
    shape: 'chain',
    judge: (tree, chance) => rejectionReference(tree, both(tree), chance),
  },
  'block verification': {
    verifier: blockVerification(),
    shape: 'chain',
    judge: (tree, chance) => blockReference(tree, both(tree), chance),
  },
  'rejection on a tree': {
    verifier: rejectionSampling(),
    shape: 'tree',
    judge: (tree, chance) => multiRoundReference(tree, both(tree), { chance, source: 'without-replacement' }),
  },
  'rejection on a tree with replacement': {
    verifier: rejectionSampling({ drafts: 'with-replacement' }),
    shape: 'tree',
    replacement: true,
    judge: (tree, chance) => multiRoundReference(tree, both(tree), { chance, source: 'with-replacement' }),
  },
  'traversal verification': {
    verifier: traversalVerification(),
    shape: 'tree',
    judge: (tree, chance) => traversalReference(tree, both(tree), chance),
  },
  'sample-and-match by inversion': {
    verifier: sampleAndMatch({ by: 'inverse' }),
    shape: 'tree',
    judge: (tree, chance) => matchReference(tree, rowsOf(target, tree), chance),
  },
};

/** Exact probabilities of the tokens that a round emits. */
function exactBlocks({ shape, replacement, judge }: Method): Map<string, number> {
  const blocks = new Map<string, number>();
  const draft = (tokens: readonly number[], chance: Chance): number[] => {
    const all = [...tokens];
    parentRows[shape].forEach((parent, row) => {
      if (row === 0) return;
      const weights = [...drafts[all[parent]!]!];
      const siblings = parentRows[shape].flatMap((one, i) => (i > 0 && i < row && one === parent ? [all[i]!] : []));
      if (!replacement) for (const token of siblings) weights[token] = 0;
      all.push(chance.draw(weights));
    });
    return all;
  };
  enumerateChances(
    (chance) => {
      const tokens = draft([anchor], chance);
      const { path, next } = judge({ tokens, parents: parentRows[shape] }, chance);
      return [...path.slice(1).map((row) => tokens[row]!), chance.draw(next)].join(' ');
    },
    (block, probability) => blocks.set(block, (blocks.get(block) ?? 0) + probability),
  );
  return blocks;
}

const settings = new State({ name: 'settings', shape: [samplingWords], dtype: 'u32' });
const counts = new State({ name: 'counts', shape: [2, vocabSize], dtype: 'u32' });
const turn = new State({ name: 'turn', shape: [1], dtype: 'u32' });

/** Tokens of `rounds` rounds on the device: drafts from Gumbel or uniform noise, verdicts by the verifier. */
async function deviceBlocks({ verifier, shape, replacement }: Method): Promise<string[]> {
  const parents = parentRows[shape];
  const width = parents.length;
  const words = 2 * width + 2;
  const results = new State({ name: 'results', shape: [rounds, words], dtype: 'u32' });
  const graph = trace((traced) => {
    const constant = (data: ArrayLike<number>, dims?: readonly number[]) =>
      traced.constant(Float32Array.from(data), dims);
    const words32 = (data: readonly number[]) => traced.constant(Uint32Array.from(data));
    const length = readState(traced, turn);
    const noise = philoxNoise(settings);
    const q = constant(drafts.flat(), [vocabSize, vocabSize]);
    const childOf = (parent: Tensor, row: number) => {
      const uniform = noise.uniform(length, words32([row]), 'draft');
      return draw(gatherRows(q, parent), uniform);
    };
    const first = words32([anchor]);
    let tokens: Tensor[];
    if (shape === 'chain') {
      const one = childOf(first, 1);
      tokens = [first, one, childOf(one, 2)];
    } else {
      const pair = topK(
        gatherRows(q, first)
          .log()
          .add(noise.gumbel(length, vocabSize, 'draft')),
        2,
      ).indices.reshape([2]);
      const [left, right] = replacement
        ? [childOf(first, 1), childOf(first, 2)]
        : [
            gatherRows(pair.reshape([2, 1]), words32([0])).reshape([1]),
            gatherRows(pair.reshape([2, 1]), words32([1])).reshape([1]),
          ];
      tokens = [first, left, right, childOf(left, 3), childOf(right, 4)];
    }
    const all = concat(tokens, 0);
    const depths = shape === 'chain' ? [0, 1, 2] : [0, 1, 1, 2, 2];
    const tree: TokenTree = {
      width,
      depth: 2,
      chain: shape === 'chain',
      tokens: all,
      ...(shape === 'chain' ? {} : { parents: words32(parents), depths: words32(depths) }),
      count: words32([width]),
      distribution: gatherRows(q, all),
    };
    const spans = words32(depths).add(length.mul(3)).add(1);
    const round = {
      width,
      length: length.mul(3),
      sampling: { settings, counts },
      noise,
      rows: { spans },
    } as unknown as Round;
    const logits = gatherRows(constant(target.flat().map(Math.log), [vocabSize, vocabSize]), all);
    const { path, count, next } = verifier.verify(tree, logits, round);
    writeRows(results, concat([all, path, count, next], 0).reshape([1, words]), { slots: length, count: words32([1]) });
    writeState(turn, length.add(1));
  });
  const program = await compile(graph, { device, name: 'rounds' });
  const buffers = new StateBuffers(device, program.states);
  buffers.write(settings, packSampling({ temperature: 1, seed: 2024 }));
  const perSubmit = 250;
  for (let done = 0; done < rounds; done += perSubmit) {
    const commands = new Commands(device);
    for (let i = 0; i < perSubmit; i++) commands.run(program, { states: buffers });
    commands.submit();
  }
  const all = await buffers.read(results);
  buffers.destroy();
  program.destroy();
  return Array.from({ length: rounds }, (_, index) => {
    const row = Array.from(all.subarray(index * words, (index + 1) * words));
    const kept = row.slice(width, width + row[2 * width]!);
    return [...kept.slice(1).map((at) => row[at]!), row[2 * width + 1]!].join(' ');
  });
}

it.each(Object.entries(methods))('%s', async (name, method) => {
  const exact = exactBlocks(method);
  expect([...exact.values()].reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 12);

  // Continued by the target, the emitted tokens are the target's.
  for (let a = 0; a < vocabSize; a++) {
    for (let b = 0; b < vocabSize; b++) {
      const wanted = target[anchor]![a]! * target[a]![b]!;
      let got = 0;
      for (const [block, probability] of exact) {
        const tokens = block.split(' ').map(Number);
        if (tokens[0] !== a || (tokens.length > 1 && tokens[1] !== b)) continue;
        got += tokens.length > 1 ? probability : probability * target[a]![b]!;
      }
      expect(Math.abs(got - wanted)).toBeLessThan(1e-9);
    }
  }

  const seen = new Map<string, number>();
  for (const block of await deviceBlocks(method)) seen.set(block, (seen.get(block) ?? 0) + 1);
  let [statistic, cells, restExpected, restSeen] = [0, 0, 0, 0];
  for (const [block, probability] of exact) {
    const expected = probability * rounds;
    const count = seen.get(block) ?? 0;
    seen.delete(block);
    if (expected < 8) {
      restExpected += expected;
      restSeen += count;
      continue;
    }
    statistic += (count - expected) ** 2 / expected;
    cells++;
  }
  expect([...seen.keys()]).toEqual([]);
  if (restExpected > 5) {
    statistic += (restSeen - restExpected) ** 2 / restExpected;
    cells++;
  }
  const p = tail(statistic, cells - 1);
  console.info(`${name}: chi-square ${statistic.toFixed(1)} over ${cells} cells, p = ${p.toFixed(4)}`);
  expect(p).toBeGreaterThan(1e-4);
});
