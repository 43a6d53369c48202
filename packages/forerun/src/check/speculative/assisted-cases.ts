/** Runs with a draft model: fixed and adaptive draft length, a confidence threshold, sampling. */
import type { Decoder, Drafter, Sampling } from '@forerun/contracts';
import type { Engine } from '@forerun/decoding';
import { draftModel } from '@forerun/drafters';
import { samplingProbabilities } from '@forerun/tensor';
import { rejectionSampling } from '@forerun/verifiers';
import { type CaseModel, caseModel } from './case-model.ts';
import { caseEngine, cutDrafter, type RecordedRound, roundsDifference, runRounds } from './case-runs.ts';
import { firstDifference, listDifference, type SpeculativeCase } from './speculative-case.ts';
import { Tape } from './tape.ts';

interface AssistedRound extends RecordedRound {
  readonly length: number;
  readonly proposed: readonly number[];
  readonly n_matches: number;
  readonly draft_uniforms?: readonly number[];
  readonly uniforms?: readonly number[];
}

interface AssistedRun {
  readonly name: string;
  readonly num_assistant_tokens: number;
  readonly schedule: 'constant' | 'heuristic' | 'heuristic_transient';
  readonly assistant_confidence_threshold: number;
  readonly sampling: {
    readonly temperature: number;
    readonly top_k: number;
    readonly top_p: number;
    readonly min_p?: number;
  } | null;
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
  readonly rounds: readonly AssistedRound[];
}

/** A logit that stays finite at any temperature, and whose token is never drawn. */
const unlikely = -1e30;

/** Uniforms that drafters leave for each draft of a round. */
const draftStride = 64;

/** Runs of a target with its draft model: every proposal, what was accepted of it, and the tokens. */
export async function assistedRuns(one: SpeculativeCase): Promise<string | undefined> {
  const [model, draft] = await Promise.all([
    caseModel(one.beside('target-llama')),
    caseModel(one.beside('draft-llama')),
  ]);
  const runs = one.facts['runs'] as readonly AssistedRun[];
  const greedyRuns = runs.filter(({ sampling }) => sampling === null);
  const sampledRuns = runs.filter(({ sampling }) => sampling !== null);
  const capacityTokens = Math.max(...runs.map(({ prompt, tokens }) => prompt.length + tokens.length));
  const tape = new Tape(capacityTokens);
  const parts = { capacityTokens, owned: [draft] };
  return (
    (await withEngine(one, { model, ...parts }, greedyRuns, (engine, run) => {
      const confidence = run.assistant_confidence_threshold;
      return runDifference(engine, run, { drafter: draftModel({ decoder: draft.decoder, confidence }) });
    })) ??
    withEngine(
      one,
      { model, ...parts, noise: tape.noise, verifier: rejectionSampling() },
      sampledRuns,
      (engine, run) => {
        const decoder = processedTwice(draft.decoder, engine.loop.sampling);
        const confidence = run.assistant_confidence_threshold;
        const drawn = draftModel({ decoder, children: 'drawn', confidence });
        return runDifference(engine, run, { drafter: tape.drafter(drawn), tape });
      },
    )
  );
}

/**
 * Upstream hands the target's processors to a draft model that applies its own copy of them already, so that temperature and top-p count
 * twice. Here the head applies them once, and the drafter again.
 */
function processedTwice(decoder: Decoder, sampling: Sampling): Decoder {
  return {
    ...decoder,
    head(normed) {
      const p = samplingProbabilities(decoder.head(normed), sampling);
      return p.equal(0).select(unlikely, p.max(1e-38).log());
    },
  };
}

async function withEngine(
  one: SpeculativeCase,
  { model, ...options }: { readonly model: CaseModel } & Parameters<typeof caseEngine>[2],
  runs: readonly AssistedRun[],
  check: (engine: Engine, run: AssistedRun) => Promise<string | undefined>,
): Promise<string | undefined> {
  if (runs.length === 0) return undefined;
  const engine = await caseEngine(one.device, model, options);
  try {
    return await firstDifference(runs, (run) => check(engine, run));
  } finally {
    engine.destroy();
  }
}

/** How many drafts each round may have: as its schedule says, and no more than leave room for the target's own token. */
function allowedDrafts({
  schedule,
  num_assistant_tokens: first,
  assistant_confidence_threshold: confidence,
  prompt,
  tokens,
  rounds,
}: AssistedRun): Map<number, number> {
  const allowed = new Map<number, number>();
  // The adaptive number stays with the draft model, so that a run begins where the one before it ended.
  const begun = rounds[0]?.proposed.length ?? first;
  const adaptive = confidence > 0 ? Math.max(first, begun) : begun;
  let number = schedule === 'constant' ? first : adaptive;
  for (const { length, proposed, n_matches: accepted } of rounds) {
    allowed.set(length - 1, Math.min(number, prompt.length + tokens.length - length - 1));
    if (schedule !== 'constant') number = accepted === proposed.length ? number + 2 : Math.max(1, number - 1);
  }
  return allowed;
}

async function runDifference(
  engine: Engine,
  run: AssistedRun,
  { drafter: whole, tape }: { readonly drafter: Drafter; readonly tape?: Tape },
): Promise<string | undefined> {
  const { name, prompt, tokens, rounds, sampling } = run;
  const allowed = allowedDrafts(run);
  const { drafter, cut } = cutDrafter(whole, engine.capacityTokens);
  using conversation = engine.open({ drafter });
  cut(conversation, allowed);
  tape?.write(
    conversation,
    rounds.map(({ length, draft_uniforms: drawn = [], uniforms: verdict = [] }) => {
      const drafts = new Float32Array(drawn.length * draftStride);
      drawn.forEach((uniform, index) => (drafts[index * draftStride] = uniform));
      return [length - 1, { drafts, verdict }] as const;
    }),
  );
  const got = await runRounds(conversation, {
    prompt,
    maxTokens: tokens.length,
    width: Math.max(...allowed.values()) + 1,
    sampling: sampling
      ? { temperature: sampling.temperature, topK: sampling.top_k, topP: sampling.top_p, minP: sampling.min_p ?? 0 }
      : { temperature: 0 },
  });
  // A sampled round without drafts draws its token elsewhere upstream: no uniform is recorded for it.
  const unrecorded = sampling ? rounds.find(({ uniforms }) => uniforms === undefined) : undefined;
  const known = unrecorded ? unrecorded.length - prompt.length : tokens.length;
  const kept = got.flatMap((round) => round.tokens);
  return roundsDifference(name, got, rounds) ?? listDifference(name, kept.slice(0, known), tokens.slice(0, known));
}
