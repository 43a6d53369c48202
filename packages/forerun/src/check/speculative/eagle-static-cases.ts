/** EAGLE-1: trees of fixed form, children drawn without replacement, and their multi-round rejection. */
import { eagle, leafPaths, staticTree, treeMask, type TreeShape } from '@forerun/drafters';
import { eagleHead } from '@forerun/mtp';
import { listChance, multiRoundReference, rejectionSampling } from '@forerun/verifiers';
import { caseCheckpoint, caseModel } from './case-model.ts';
import { type EagleArguments, eagleSampling } from './eagle-sampling.ts';
import { expandedRows } from './head-cases.ts';
import { Journal, type JournalRound } from './journal.ts';
import { type LoopRound, type LoopRun, LoopRunner } from './recorded-runs.ts';
import { firstDifference, listDifference, numberDifference, type SpeculativeCase } from './speculative-case.ts';
import { type Recorded, tapeOfRun } from './tape.ts';

/** Candidates of each node upstream. */
const candidates = 10;
/** Uniforms that a drafter sets aside for each node. */
const uniformsOfNode = 64;

type Choices = readonly (readonly number[])[];
type Siblings = readonly (readonly (readonly number[])[])[];

interface StaticRun extends LoopRun {
  readonly tree: string;
  readonly args: EagleArguments;
  readonly tape: readonly Recorded[] | null;
  readonly rounds: readonly (LoopRound & { readonly uniforms?: readonly number[] })[];
}

/** Buffers of EAGLE-1's trees, and whole runs, greedy and sampled. */
export async function eagleStatic(one: SpeculativeCase): Promise<string | undefined> {
  const trees = one.facts['trees'] as Readonly<Record<string, Choices>>;
  const buffers = await firstDifference(Object.entries(trees), ([name, choices]) =>
    bufferDifference(one, name, staticTree(choices)),
  );
  if (buffers) return buffers;
  const model = await caseModel(one.beside('target-llama'));
  const checkpoint = await caseCheckpoint(one.beside('eagle1'));
  const head = await eagleHead(checkpoint, model.decoder);
  const runs = one.facts['runs'] as readonly StaticRun[];
  const owned = [{ checkpoint, weights: head.weights }];
  const runner = await LoopRunner.open(one.device, model, { owned, runs });
  try {
    return await firstDifference(runs, (run) => {
      const tree = trees[run.tree]!;
      const { temperature = 0 } = run.args;
      if (temperature === 0) return runner.difference(run, { drafter: eagle(head, { tree, children: 'most-likely' }) });
      const journal = new Journal(run.rounds.length + 1, model.decoder.vocabSize);
      const { first, rounds } = uniformsOf(run, staticTree(tree));
      return runner.difference(run, {
        drafter: eagle(head, { tree, children: 'drawn' }),
        verifier: journal.keeping(rejectionSampling({ drafts: 'without-replacement' })),
        sampling: eagleSampling(run.args).sampling,
        first,
        uniforms: rounds,
        states: journal.states,
        inspect: async (conversation) => {
          const kept = await journal.read(
            conversation,
            run.rounds.map(({ tree_tokens: tokens }) => tokens.length),
          );
          return firstDifference(kept.entries(), ([index, seen]) =>
            distributionDifference(one, { run, index, seen, shape: staticTree(tree) }),
          );
        },
      });
    });
  } finally {
    runner.destroy();
  }
}

/** The recorded uniforms, those of the children where the drafter looks for them: it draws no more than the tree has. */
function uniformsOf(run: StaticRun, shape: TreeShape) {
  const nodes = expandedRows(shape).flat();
  const counts = run.rounds.map(({ uniforms = [] }) => ({ drawn: candidates * nodes.length, tested: uniforms.length }));
  const { first, rounds } = tapeOfRun(run.tape!, counts);
  const spread = (drafts: ArrayLike<number>) => {
    const list = new Float32Array(uniformsOfNode * nodes.length);
    nodes.forEach((_, node) => {
      for (let i = 0; i < candidates; i++) list[node * uniformsOfNode + i] = drafts[node * candidates + i]!;
    });
    return list;
  };
  return { first, rounds: rounds.map(({ drafts, ...rest }) => ({ ...rest, drafts: spread(drafts!) })) };
}

/** What a tree is made into upstream: masks and indexes for the target's pass, and for the head's pass over each level. */
async function bufferDifference(one: SpeculativeCase, name: string, shape: TreeShape): Promise<string | undefined> {
  const { parents, depth } = shape;
  const integers = async (part: string) => Array.from((await one.tensor(`${name}.${part}`)).data);
  const levels = expandedRows(shape);
  const nodes = levels.flat();
  const rankOf = (row: number) => shape.paths[row - 1]!.at(-1)!;
  const leaves = sortedLeaves(shape);
  const padded = (path: readonly number[]) => Array.from({ length: depth + 1 }, (_, i) => path[i] ?? -1);
  const parentAmong = (row: number) => (row === 0 ? -1 : levels[shape.depths[row]! - 1]!.indexOf(parents[row]!));
  const treeIndexes = [
    0,
    ...shape.paths.map((_, i) => 1 + candidates * nodes.indexOf(parents[i + 1]!) + rankOf(i + 1)),
  ];
  const earlier = (one.facts[`${name}_earlier_siblings`] as Siblings).flat(2);
  const siblings = leaves.flatMap((path) => path.slice(1).flatMap((row) => earlierSiblings(shape, row)));
  const differences = [
    listDifference('attn_mask', Array.from(treeMask(shape)), await integers('attn_mask')),
    listDifference('tree_indices', treeIndexes, await integers('tree_indices')),
    listDifference('position_ids', shape.depths, await integers('position_ids')),
    listDifference('retrieve_indices', leaves.flatMap(padded), await integers('retrieve_indices')),
    listDifference(
      'p_indices',
      // Upstream looks up its padding as the last row.
      leaves.flatMap((path) => padded(path).map((row) => parentAmong(row < 0 ? shape.width - 1 : row))),
      await integers('p_indices'),
    ),
    listDifference('earlier siblings', siblings, earlier),
    ...(await Promise.all(
      levels.slice(1).map(async (rows, level) => {
        if (rows.length === 0) return undefined;
        const columns = levels.slice(1, level + 2).flat();
        const ancestors = (row: number): number[] => (row === 0 ? [] : [row, ...ancestors(parents[row]!)]);
        const mask = rows.flatMap((row) => columns.map((column) => (ancestors(row).includes(column) ? 1 : 0)));
        const indexes = rows.map((row) => candidates * parentAmong(row) + rankOf(row));
        const repeats = levels[level]!.map((row) => rows.filter((child) => parents[child] === row).length).filter(
          Boolean,
        );
        return (
          listDifference(`draft${level}.attn_mask`, mask, await integers(`draft${level}.attn_mask`)) ??
          listDifference(`draft${level}.tree_indices`, indexes, await integers(`draft${level}.tree_indices`)) ??
          listDifference(`draft${level}.repeat_nums`, repeats, await integers(`draft${level}.repeat_nums`))
        );
      }),
    )),
  ];
  const difference = differences.find((found) => found !== undefined);
  return difference && `${name}, ${difference}`;
}

/** Paths to the leaves in the order of their rows. */
function sortedLeaves(shape: TreeShape): readonly (readonly number[])[] {
  return leafPaths(shape).toSorted((a, b) => {
    const at = a.findIndex((row, i) => row !== b[i]);
    return a[at]! - b[at]!;
  });
}

function earlierSiblings({ parents }: TreeShape, row: number): number[] {
  return parents.flatMap((parent, other) => (other > 0 && other < row && parent === parents[row] ? [other] : []));
}

/** The probability with which each child was drawn, and what was left of the target's distribution at the end. */
async function distributionDifference(
  one: SpeculativeCase,
  { run, index, seen, shape }: { run: StaticRun; index: number; seen: JournalRound; shape: TreeShape },
): Promise<string | undefined> {
  const { tree_tokens: tokens, uniforms = [] } = run.rounds[index]!;
  const name = `${run.name}.${index}`;
  const { parents } = shape;
  const probability = (row: number | undefined): number => {
    if (!row) return 1;
    const q = seen.q[parents[row]!]!;
    const before = earlierSiblings(shape, row).reduce((sum, other) => sum + q[tokens[other]!]!, 0);
    return q[tokens[row]!]! / (1 - before);
  };
  const drawn = sortedLeaves(shape).flatMap((path) =>
    Array.from({ length: shape.depth + 1 }, (_, i) => probability(path[i])),
  );
  const { next } = multiRoundReference(
    { tokens, parents },
    { p: seen.p, q: seen.q },
    { chance: listChance(uniforms), source: 'without-replacement' },
  );
  const most = 1e-5;
  return (
    numberDifference(`${name}, cart_prob`, { got: drawn, want: (await one.tensor(`${name}.cart_prob`)).data, most }) ??
    numberDifference(`${name}, sample_p`, { got: next, want: (await one.tensor(`${name}.sample_p`)).data, most })
  );
}
