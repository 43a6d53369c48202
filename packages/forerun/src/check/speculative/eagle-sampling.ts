/** EAGLE's processors of logits: temperature, then top-p, then top-k. Ours cut to the top-k first. */
import type { Verifier } from '@forerun/contracts';
import { packSampling, samplingProbabilities, type SamplingSettings, samplingWords, State } from '@forerun/tensor';
import type { Repetition } from './recorded-runs.ts';

/** Arguments of EAGLE's loops. */
export interface EagleArguments {
  readonly temperature?: number;
  /** Not taken into account outside of (0, 1). */
  readonly top_p?: number;
  /** Not taken into account at 0. */
  readonly top_k?: number;
}

/** Settings of the arguments, and those under which logits are to be cut to the nucleus beforehand, where both cuts are asked for. */
export function eagleSampling({ temperature = 0, top_p: topP = 0, top_k: topK = 0 }: EagleArguments): {
  readonly sampling: SamplingSettings;
  readonly nucleus?: SamplingSettings;
} {
  const cuts = topP > 0 && topP < 1;
  if (!cuts || topK === 0) return { sampling: { temperature, topP: cuts ? topP : 1, topK } };
  return { sampling: { temperature, topK }, nucleus: { temperature, topP } };
}

/** How a run with these arguments is sampled and judged. */
export function sampledRepetition(
  inner: Verifier,
  args: EagleArguments,
): Pick<Repetition, 'verifier' | 'sampling' | 'states' | 'prepare'> {
  const { sampling, nucleus } = eagleSampling(args);
  if (!nucleus) return { verifier: inner, sampling };
  const settings = new State({ name: 'settings of the nucleus', shape: [samplingWords], dtype: 'u32' });
  const verifier: Verifier = {
    ...inner,
    verify(tree, logits, round) {
      const kept = samplingProbabilities(logits, { settings, counts: round.sampling.counts });
      const outside = logits.graph.constant(new Float32Array([-3e38]));
      return inner.verify(tree, kept.equal(0).select(outside, logits), round);
    },
  };
  return {
    verifier,
    sampling,
    states: [settings],
    prepare: (conversation) => conversation.states.write(settings, packSampling(nucleus)),
  };
}
