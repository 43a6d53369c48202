/** Medusa's loop from prompt to tokens. */
import type { Accepted, Verifier } from '@forerun/contracts';
import { leafPaths, medusa, staticTree, type TreeShape } from '@forerun/drafters';
import { medusaHeads } from '@forerun/mtp';
import { argmax, gather, gatherRows, slice, type Tensor } from '@forerun/tensor';
import { draw, greedy, targetProbabilities, typicalAcceptance } from '@forerun/verifiers';
import { caseCheckpoint, caseModel } from './case-model.ts';
import { medusaFile } from './head-cases.ts';
import type { MedusaArguments } from './medusa-cases.ts';
import { type LoopRound, type LoopRun, LoopRunner, type Repetition } from './recorded-runs.ts';
import { firstDifference, type SpeculativeCase } from './speculative-case.ts';

interface MedusaRun extends LoopRun {
  readonly choices: readonly (readonly number[])[];
  readonly args: MedusaArguments;
  readonly rounds: readonly (LoopRound & {
    readonly uniforms?: readonly number[];
    /** Empty where the root is the most likely token. */
    readonly root_uniforms?: readonly number[];
  })[];
}

/** Every round of `medusa_generate` with the heads of `medusa-heads`: greedy, typical, nucleus. */
export async function medusaLoop(one: SpeculativeCase): Promise<string | undefined> {
  const model = await caseModel(one.beside('target-llama'));
  const folder = one.beside('medusa-heads');
  const checkpoint = await caseCheckpoint(folder, await medusaFile(folder, 'v1'));
  const heads = medusaHeads(checkpoint, model.decoder);
  const runs = one.facts['runs'] as readonly MedusaRun[];
  const owned = [{ checkpoint, weights: heads.weights }];
  const runner = await LoopRunner.open(one.device, model, { owned, runs });
  try {
    return await firstDifference(runs, (run) => {
      const drafter = medusa(heads, { tree: run.choices, children: 'most-likely' });
      return runner.difference(run, { drafter, ...verdictOf(run) });
    });
  } finally {
    runner.destroy();
  }
}

function verdictOf({ args, choices, rounds }: MedusaRun): Omit<Repetition, 'drafter'> {
  const {
    temperature,
    sampling = 'typical',
    posterior_threshold = 0.09,
    posterior_alpha = 0.3,
    top_p: topP = 0.8,
  } = args;
  if (temperature === 0) return { verifier: greedy() };
  if (sampling === 'typical') {
    const verifier = typicalAcceptance({
      epsilon: posterior_threshold,
      delta: posterior_alpha,
      next: 'most-likely',
    });
    return { verifier, sampling: { temperature } };
  }
  const roots = rounds.map(({ root_uniforms: own = [] }) => own);
  const drawn = roots.some((own) => own.length > 0);
  return {
    verifier: nucleusVerdict(staticTree(choices), drawn),
    sampling: { temperature, topP },
    uniforms: rounds.map(({ uniforms = [] }, index) => ({ verdict: [...uniforms, ...(roots[index + 1] ?? [])] })),
    ...(drawn ? { first: { verdict: [...unasked(choices), ...roots[0]!] } } : {}),
  };
}

/** Uniforms of the drafts, which the pass of the prompt does not ask for. */
const unasked = (choices: MedusaRun['choices']) => Array.from({ length: questions(staticTree(choices)) }, () => 0);

const questions = (shape: TreeShape) => leafPaths(shape).length * shape.depth;

/**
 * Nucleus verdicts as upstream has them: the target's token is drawn anew for each candidate and depth, and the first of the candidates
 * with the longest prefix of equal tokens is accepted. Not exact, hence no verifier of the library; its draws are.
 */
function nucleusVerdict(shape: TreeShape, drawnRoot: boolean): Verifier {
  const leaves = leafPaths(shape);
  const { depth } = shape;
  const L = leaves.length;
  return {
    name: 'medusa-nucleus',
    needs: {},
    exactness: 'lossy',
    verify(tree, logits, round): Accepted {
      const { graph } = logits;
      const { width } = tree;
      const p = targetProbabilities(tree, logits, round);
      const column = (values: readonly number[]) => graph.constant(Uint32Array.from(values));
      const uniform = (first: number, count: number) =>
        round.noise.uniform(
          round.length.add(graph.constant(new Uint32Array(count))),
          column(Array.from({ length: count }, (_, i) => first + i)),
          'accept',
        );
      const root = (row: Tensor) =>
        drawnRoot ? draw(gatherRows(p, row), uniform(L * depth, 1)) : gather(argmax(logits), row);
      if (width === 1) return { path: column([0]), count: column([1]), next: root(column([0])) };

      const cells = leaves.flatMap((path) => Array.from({ length: depth }, (_, i) => [path[i], path[i + 1]] as const));
      const wanted = draw(gatherRows(p, column(cells.map(([row]) => row ?? 0))), uniform(0, L * depth));
      const drafts = gather(tree.tokens, column(cells.map(([, child]) => child ?? 0)));
      const there = column(cells.map(([, child]) => (child === undefined ? 0 : 1)));
      const equal = wanted.equal(drafts).mul(there).reshape([L, depth]);
      let going = slice(equal, 1, [0, 1]);
      let accepted = going;
      for (let at = 1; at < depth; at++) {
        going = going.mul(slice(equal, 1, [at, at + 1]));
        accepted = accepted.add(going);
      }
      const best = argmax(accepted.to('f32').reshape([1, L]));
      const paths = graph.constant(
        Uint32Array.from(leaves.flatMap((path) => Array.from({ length: width }, (_, i) => path[i] ?? 0))),
        [L, width],
      );
      const path = gatherRows(paths, best).reshape([width]);
      const drafted = gather(accepted.reshape([L]), best);
      return { path, count: drafted.add(1), next: root(gather(path, drafted)) };
    },
  };
}
