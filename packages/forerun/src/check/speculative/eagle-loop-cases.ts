/** EAGLE's loop from prompt to tokens, with dynamic trees. */
import { eagle } from '@forerun/drafters';
import { eagleHead, type FeatureHead } from '@forerun/mtp';
import { rejectionSampling } from '@forerun/verifiers';
import { caseCheckpoint, caseModel, type OwnedWeights } from './case-model.ts';
import { type EagleArguments, sampledRepetition } from './eagle-sampling.ts';
import { type LoopRound, type LoopRun, LoopRunner } from './recorded-runs.ts';
import { firstDifference, type SpeculativeCase } from './speculative-case.ts';
import { type Recorded, tapeOfRun } from './tape.ts';

interface EagleRun extends LoopRun {
  /** Folder of the head. */
  readonly draft: string;
  readonly total_token: number;
  readonly depth: number;
  readonly top_k: number;
  readonly args: EagleArguments;
  readonly all_uniforms?: readonly Recorded[];
  readonly rounds: readonly (LoopRound & { readonly uniforms?: readonly number[] })[];
}

/** Every round of `eagenerate`: greedy, and sampled with recorded uniforms. */
export async function eagleLoop(one: SpeculativeCase): Promise<string | undefined> {
  const model = await caseModel(one.beside('target-llama'));
  const runs = one.facts['runs'] as readonly EagleRun[];
  const owned: OwnedWeights[] = [];
  const heads = new Map<string, FeatureHead>();
  for (const name of new Set(runs.map(({ draft }) => draft))) {
    const checkpoint = await caseCheckpoint(one.beside(name));
    const head = await eagleHead(checkpoint, model.decoder);
    owned.push({ checkpoint, weights: head.weights });
    heads.set(name, head);
  }
  const verifier = rejectionSampling({ drafts: 'certain' });
  const runner = await LoopRunner.open(one.device, model, { owned, runs });
  try {
    return await firstDifference(runs, (run) => {
      const { draft, total_token: totalTokens, top_k: topK, depth, args, all_uniforms: all } = run;
      const { temperature = 0 } = args;
      const drafter = eagle(heads.get(draft)!, {
        tree: 'dynamic',
        // Upstream's depth counts the passes of the head behind the first.
        depth: depth + 1,
        topK,
        totalTokens,
        children: 'most-likely',
      });
      if (temperature === 0) return runner.difference(run, { drafter });
      const counts = run.rounds.map(({ uniforms = [] }) => ({ drawn: 0, tested: uniforms.length }));
      const { first, rounds } = tapeOfRun(all!, counts);
      return runner.difference(run, {
        drafter,
        ...sampledRepetition(verifier, args),
        first,
        uniforms: rounds,
      });
    });
  } finally {
    runner.destroy();
  }
}
