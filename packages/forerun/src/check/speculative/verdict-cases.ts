/** Cases in which drafts and uniforms are given, and verdicts and tokens compared. */
import {
  blockReference,
  blockThresholds,
  blockVerification,
  type Chance,
  greedy,
  type HostDistributions,
  type HostTree,
  type HostVerdict,
  inverseDraw,
  listChance,
  matchReference,
  multiRoundReference,
  rejectionReference,
  rejectionSampling,
  sampleAndMatch,
  traversalReference,
  traversalVerification,
} from '@forerun/verifiers';
import type { Verifier } from '@forerun/contracts';
import type { SamplingSettings } from '@forerun/tensor';
import { eagleSampling } from './eagle-sampling.ts';
import { firstDifference, listDifference, numberDifference, rowsOf, type SpeculativeCase } from './speculative-case.ts';
import { VerdictPrograms } from './verdict-program.ts';

interface Recorded {
  readonly next_token: number;
  readonly accepted?: number;
  readonly accepted_nodes?: readonly number[];
}

interface Instance {
  readonly name: string;
  readonly uniforms: readonly number[];
  readonly draft?: readonly number[];
  readonly tokens?: readonly number[];
  readonly parents?: readonly number[];
}

/** A rule as kernel and as reference. */
interface Rule {
  readonly verifier: Verifier;
  /** Whether it looks at the distribution of the drafts. */
  readonly drawn: boolean;
  readonly reference: (tree: HostTree, distributions: HostDistributions, chance: Chance) => HostVerdict;
  /** Which uniform the last draw reads: the one behind those of all drafts, or behind those asked for; none where it was drawn. */
  readonly last: 'behind-all' | 'behind-asked' | 'drawn';
}

const match: Rule = {
  verifier: sampleAndMatch({ by: 'inverse' }),
  drawn: false,
  reference: (tree, { p }, chance) => matchReference(tree, p, chance),
  last: 'drawn',
};

const chainRules: Readonly<Record<string, Rule>> = {
  leviathan: {
    verifier: rejectionSampling(),
    drawn: true,
    reference: (tree, distributions, chance) => rejectionReference(tree, distributions, chance),
    last: 'behind-all',
  },
  block: {
    verifier: blockVerification(),
    drawn: true,
    reference: (tree, distributions, chance) => blockReference(tree, distributions, chance),
    last: 'behind-all',
  },
  sample_match: match,
};

const multiRound = (source: 'certain' | 'with-replacement' | 'without-replacement'): Rule => ({
  verifier: rejectionSampling({ drafts: source }),
  drawn: source !== 'certain',
  reference: (tree, distributions, chance) => multiRoundReference(tree, distributions, { chance, source }),
  last: 'behind-asked',
});

const treeRules: Readonly<Record<string, Rule>> = {
  with_replacement: multiRound('with-replacement'),
  without_replacement: multiRound('without-replacement'),
  certain: multiRound('certain'),
  traversal: {
    verifier: traversalVerification(),
    drawn: true,
    reference: (tree, { p, q }, chance) => traversalReference(tree, { p, q: q! }, chance),
    last: 'behind-asked',
  },
  sample_match: match,
};

const parentsOfChain = (width: number) => Array.from({ length: width }, (_, row) => Math.max(row - 1, 0));

/** The same rules on given drafts with given uniforms, in float64 and on the device. */
export async function verifierRuns(one: SpeculativeCase): Promise<string | undefined> {
  const programs = new VerdictPrograms(one.device);
  const chains = (one.facts['chains'] as readonly Instance[]).map((instance) => ({ instance, rules: chainRules }));
  const trees = (one.facts['trees'] as readonly Instance[]).map((instance) => ({ instance, rules: treeRules }));
  try {
    return await firstDifference([...chains, ...trees], async ({ instance, rules }) => {
      const p = rowsOf(await one.tensor(`${instance.name}.p`));
      const q = rowsOf(await one.tensor(`${instance.name}.q`));
      const chain = instance.draft !== undefined;
      const tokens = chain ? [0, ...instance.draft] : instance.tokens!.map((token) => Math.max(token, 0));
      const parents = chain ? parentsOfChain(tokens.length) : instance.parents!.map((row) => Math.max(row, 0));
      const applicable = Object.entries(rules).filter(([method]) => method in instance);
      return firstDifference(applicable, async ([method, rule]) => {
        const what = `${instance.name}, ${method}`;
        const want = instance[method as keyof Instance] as unknown as Recorded;
        const path = chain ? Array.from({ length: want.accepted! + 1 }, (_, row) => row) : [0, ...want.accepted_nodes!];
        const chance = listChance(instance.uniforms);
        const verdict = rule.reference({ tokens, parents }, { p, q }, chance);
        const last = rule.last === 'behind-all' ? tokens.length - 1 : verdict.tests;
        const nextToken =
          rule.last === 'drawn' ? verdict.next.indexOf(1) : inverseDraw(verdict.next, instance.uniforms[last]!);
        const decided = await programs.judge(method, rule.verifier, {
          tokens,
          ...(chain ? {} : { parents }),
          logits: p.map((row) => row.map(Math.log)),
          ...(rule.drawn ? { q: [...q, ...p].slice(0, tokens.length) } : {}),
          uniforms: instance.uniforms,
          sampling: { temperature: 1 },
        });
        return (
          listDifference(`${what} in float64`, [...verdict.path, nextToken], [...path, want.next_token]) ??
          (await distributionDifference(one, `${instance.name}.${method}.distribution`, { what, rule, verdict, p })) ??
          (method === 'block' ? await thresholdDifference(one, instance.name, { tokens, p, q }) : undefined) ??
          listDifference(`${what} on the device`, [...decided.path, decided.next], [...path, want.next_token])
        );
      });
    });
  } finally {
    await programs.destroy();
  }
}

async function distributionDifference(
  one: SpeculativeCase,
  name: string,
  given: { what: string; rule: Rule; verdict: HostVerdict; p: readonly Float64Array[] },
): Promise<string | undefined> {
  if (!one.has(name)) return undefined;
  const { what, rule, verdict, p } = given;
  const weights = rule.last === 'drawn' ? p[verdict.path.at(-1)!]! : verdict.next;
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const got = weights.map((weight) => weight / total);
  return numberDifference(`${what}, distribution`, { got, want: (await one.tensor(name)).data, most: 1e-9 });
}

async function thresholdDifference(
  one: SpeculativeCase,
  name: string,
  { tokens, p, q }: { tokens: readonly number[]; p: readonly Float64Array[]; q: readonly Float64Array[] },
): Promise<string | undefined> {
  const { weights, thresholds } = blockThresholds({ tokens }, { p, q });
  const [h, w] = [await one.tensor(`${name}.block_h`), await one.tensor(`${name}.block_w`)];
  return (
    numberDifference(`${name}, h`, { got: thresholds.slice(1), want: h.data, most: 1e-6 }) ??
    numberDifference(`${name}, w`, { got: weights, want: w.data, most: 1e-6 })
  );
}

interface ChainInstance {
  readonly name: string;
  readonly candidate_length: number;
  readonly assistant_ensemble_weight: number | null;
  readonly tokens: readonly number[];
  readonly n_matches: number;
}

/** Softmax in float64. */
export function softmaxOf(logits: ArrayLike<number>): Float64Array {
  const top = Math.max(...Array.from(logits));
  const mass = Float64Array.from(logits, (logit) => Math.exp(logit - top));
  const total = mass.reduce((sum, value) => sum + value, 0);
  return mass.map((value) => value / total);
}

/** Rejection sampling of chains as transformers does it, its lossy ensemble weight included. */
export async function speculativeSampling(one: SpeculativeCase): Promise<string | undefined> {
  const programs = new VerdictPrograms(one.device);
  try {
    return await firstDifference(one.facts['instances'] as readonly ChainInstance[], async (instance) => {
      const { name, candidate_length: drafts } = instance;
      const ids = Array.from((await one.tensor(`${name}.candidate_input_ids`)).data);
      const ensembleWeight = instance.assistant_ensemble_weight ?? 1;
      const logits = rowsOf(await one.tensor(`${name}.target_logits`));
      const q = rowsOf(await one.tensor(`${name}.candidate_logits`)).map(softmaxOf);
      const tokens = ids.slice(-drafts - 1);
      const decided = await programs.judge(`${ensembleWeight}`, rejectionSampling({ ensembleWeight }), {
        tokens,
        logits,
        q: [...q, q[0]!],
        uniforms: (await one.tensor(`${name}.uniforms`)).data,
        sampling: { temperature: 1 },
      });
      return (
        listDifference(`${name}, matches`, [decided.path.length - 1], [instance.n_matches]) ??
        listDifference(
          `${name}, tokens`,
          [...decided.path.slice(1).map((row) => tokens[row]!), decided.next],
          instance.tokens,
        )
      );
    });
  } finally {
    await programs.destroy();
  }
}

interface PosteriorResult {
  readonly method: string;
  readonly processor?: { readonly temperature: number; readonly top_p?: number; readonly top_k?: number };
  readonly uniforms?: readonly number[];
  readonly accept_length: number;
  readonly accepted_tokens: readonly number[];
  readonly sample_p: string;
}

/** A uniform in the middle of those that draw a token from a distribution. */
function middleOf(p: Float64Array, token: number): number {
  const sum = (end: number) => p.subarray(0, end).reduce((total, share) => total + share, 0);
  return (sum(token) + sum(token + 1)) / 2 / sum(p.length);
}

/** Logits and settings that sample as EAGLE's processors do: temperature, then top-p, then top-k. Ours cut to the top-k first. */
function processedLogits(
  logits: readonly Float64Array[],
  processor: NonNullable<PosteriorResult['processor']>,
): { readonly masked: readonly Float64Array[]; readonly sampling: SamplingSettings } {
  const { sampling, nucleus } = eagleSampling(processor);
  if (!nucleus) return { masked: logits, sampling };
  const { temperature = 1, topP = 1 } = nucleus;
  const masked = logits.map((row) => {
    const p = softmaxOf(row.map((logit) => logit / temperature));
    let mass = 0;
    const kept = new Set<number>();
    for (const token of [...p.keys()].toSorted((a, b) => p[b]! - p[a]!)) {
      if (mass > topP) break;
      mass += p[token]!;
      kept.add(token);
    }
    return row.map((logit, token) => (kept.has(token) ? logit : -Infinity));
  });
  return { masked, sampling };
}

/** Verdicts of EAGLE on trees of certain drafts, greedy and sampled. */
export async function eaglePosterior(one: SpeculativeCase): Promise<string | undefined> {
  const programs = new VerdictPrograms(one.device);
  const instances = one.facts['instances'] as readonly { name: string; results: readonly PosteriorResult[] }[];
  try {
    return await firstDifference(instances, async ({ name, results }) => {
      const allTokens = (await one.tensor(`${name}.tree_tokens`)).data;
      const allParents = (await one.tensor(`${name}.parents`)).data;
      const allLogits = rowsOf(await one.tensor(`${name}.tree_logits`));
      // Upstream tries children in the order of its candidates: rows are numbered by where they first occur in them.
      const order = [...new Set((await one.tensor(`${name}.retrieve_indices`)).data)].filter((row) => row >= 0);
      const tokens = order.map((row) => allTokens[row]!);
      const parents = order.map((row) => Math.max(order.indexOf(allParents[row]!), 0));
      const logits = order.map((row) => allLogits[row]!);
      return firstDifference(results, async (result) => {
        const { method, processor, uniforms = [] } = result;
        const what = `${name}, ${method}`;
        const verifier = processor ? rejectionSampling({ drafts: 'certain' }) : greedy();
        const sampleP = (await one.tensor(result.sample_p)).data;
        const likely = sampleP.indexOf(Math.max(...sampleP));
        const { masked, sampling } = processor ? processedLogits(logits, processor) : { masked: logits, sampling: {} };
        const decided = await programs.judge(verifier.name, verifier, {
          tokens,
          parents,
          logits: masked,
          // Upstream draws the next token elsewhere and records no uniform for it: one in the middle of the likeliest token's share.
          uniforms: processor ? [...uniforms, middleOf(sampleP, likely)] : [],
          sampling,
        });
        const accepted = listDifference(
          what,
          decided.path.map((row) => tokens[row]!),
          result.accepted_tokens,
        );
        if (accepted || !processor) return accepted ?? listDifference(`${what}, next`, [decided.next], [likely]);
        const chance = listChance(uniforms);
        const verdict = multiRoundReference({ tokens, parents }, { p: decided.p }, { chance, source: 'certain' });
        return (
          numberDifference(`${what}, distribution`, { got: verdict.next, want: sampleP, most: 2e-6 }) ??
          listDifference(`${what}, next`, [decided.next], [likely])
        );
      });
    });
  } finally {
    await programs.destroy();
  }
}
