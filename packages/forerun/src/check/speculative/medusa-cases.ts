/** Cases of Medusa's trees and verdicts. */
import type { Verifier } from '@forerun/contracts';
import {
  candidateIndexes,
  candidateTree,
  leafPaths,
  medusaChoices,
  medusaTrees,
  staticTree,
  treeMask,
  type TreeShape,
} from '@forerun/drafters';
import {
  Commands,
  compile,
  type Device,
  packSampling,
  type SamplingSettings,
  samplingProbabilities,
  samplingWords,
  State,
  StateBuffers,
  topK,
  trace,
} from '@forerun/tensor';
import { greedy, sampleAndMatch, typicalAcceptance, typicalRow, typicalThresholds } from '@forerun/verifiers';
import { firstDifference, listDifference, numberDifference, rowsOf, type SpeculativeCase } from './speculative-case.ts';
import { VerdictPrograms } from './verdict-program.ts';

type Choices = Readonly<Record<string, readonly (readonly number[])[]>>;

/** Masks, positions and indexes of static trees. */
export async function medusaBuffers(one: SpeculativeCase): Promise<string | undefined> {
  const { topk } = one.facts['params'] as { topk: number };
  return firstDifference(Object.entries(one.facts['choices'] as Choices), async ([name, choices]) => {
    const shape = staticTree(choices);
    const integers = async (tensor: string) => Array.from((await one.tensor(`${name}.${tensor}`)).data);
    const published = medusaTrees.find((tree) => tree === name);
    const leaves = leafPaths(shape);
    const padded = leaves.flatMap((path) => Array.from({ length: shape.depth + 1 }, (_, i) => path[i] ?? -1));
    return (
      listDifference(`${name}, attn_mask`, Array.from(treeMask(shape)), await integers('attn_mask')) ??
      listDifference(`${name}, tree_indices`, candidateIndexes(shape, topk), await integers('tree_indices')) ??
      listDifference(`${name}, position_ids`, shape.depths, await integers('position_ids')) ??
      listDifference(`${name}, retrieve_indices`, padded, await integers('retrieve_indices')) ??
      (published
        ? listDifference(
            `${name}, the list in @forerun/drafters`,
            staticTree(medusaChoices(published)).paths.flat(),
            shape.paths.flat(),
          )
        : undefined)
    );
  });
}

interface TypicalSet {
  readonly T: number;
  readonly epsilon: number;
  readonly delta: number;
  readonly entropy: readonly number[];
  readonly threshold: readonly number[];
  readonly accepted: readonly (readonly number[])[];
}

/** The tokens that typical acceptance takes. */
export async function typicalSets(one: SpeculativeCase): Promise<string | undefined> {
  const { shape, data } = await one.tensor('logits');
  return firstDifference(one.facts['sets'] as readonly TypicalSet[], async (set) => {
    const { T: temperature, epsilon, delta } = set;
    const what = `T ${temperature}, epsilon ${epsilon}, delta ${delta}`;
    const { p, thresholds } = await typicalOnDevice(one.device, { shape, data }, { temperature, epsilon, delta });
    const rows = rowsOf({ shape, data: Float64Array.from(p) });
    const accepted = rows.map((row, at) => [...row.keys()].filter((token) => row[token]! > thresholds[at]!));
    return (
      numberDifference(`${what}, threshold`, { got: thresholds, want: set.threshold, most: 1e-5 }) ??
      numberDifference(`${what}, entropy`, {
        got: rows.map((row) => typicalRow(row, set).entropy),
        want: set.entropy,
        most: 1e-5,
      }) ??
      accepted.map((tokens, row) => listDifference(`${what}, row ${row}`, tokens, set.accepted[row]!)).find(Boolean)
    );
  });
}

async function typicalOnDevice(
  device: Device,
  logits: { readonly shape: readonly number[]; readonly data: Float64Array },
  { temperature, ...threshold }: { temperature: number; epsilon: number; delta: number },
) {
  const settings = new State({ name: 'settings', shape: [samplingWords], dtype: 'u32' });
  const counts = new State({ name: 'counts', shape: [2, logits.shape[1]!], dtype: 'u32' });
  const graph = trace((traced) => {
    const p = samplingProbabilities(traced.input('logits', logits.shape), { settings, counts });
    traced.output('p', p);
    traced.output('thresholds', typicalThresholds(p, threshold));
  });
  const program = await compile(graph, { device, name: 'typical' });
  const states = new StateBuffers(device, program.states);
  try {
    states.write(settings, packSampling({ temperature }));
    program.write('logits', Float32Array.from(logits.data));
    const commands = new Commands(device).run(program, { states });
    const reads = [commands.read(program, 'p'), commands.read(program, 'thresholds')] as const;
    commands.submit();
    const [p, thresholds] = await Promise.all(reads);
    return { p, thresholds };
  } finally {
    states.destroy();
    program.destroy();
  }
}

interface Root {
  readonly method: 'greedy' | 'typical' | 'nucleus';
  readonly temperature?: number;
  readonly posterior_threshold?: number;
  readonly posterior_alpha?: number;
  readonly top_p?: number;
  readonly fast?: boolean;
  readonly uniforms?: readonly number[];
  readonly root: number;
}

/** Arguments of Medusa's verdict. */
export interface MedusaArguments {
  readonly temperature: number;
  readonly sampling?: 'typical' | 'nucleus';
  readonly posterior_threshold?: number;
  readonly posterior_alpha?: number;
  readonly top_p?: number;
}

interface Evaluation {
  readonly method: string;
  readonly args: MedusaArguments;
  readonly accepted_tokens: readonly number[];
}

interface Selection {
  readonly name: string;
  readonly tree: string;
  readonly roots?: readonly Root[];
  readonly evaluate: readonly Evaluation[];
}

/** Candidates from head logits, and which of them Medusa accepts: greedy, typical, nucleus. */
export async function medusaSelect(one: SpeculativeCase): Promise<string | undefined> {
  const programs = new VerdictPrograms(one.device);
  const choices = one.facts['choices'] as Choices;
  const { topk } = one.facts['params'] as { topk: number };
  try {
    return await firstDifference(one.facts['instances'] as readonly Selection[], async (instance) => {
      const shape = staticTree(choices[instance.tree]!);
      const tokens = Array.from((await one.tensor(`${instance.name}.tree_candidates`)).data);
      const roots = instance.roots ?? [];
      const judged = { one, programs, instance, shape, tokens };
      return (
        (one.has(`${instance.name}.head_logits`) ? await candidateDifference(judged, topk) : undefined) ??
        (roots.length > 0 ? await firstDifference(roots, (root) => rootDifference(judged, root)) : undefined) ??
        (await firstDifference(instance.evaluate, (evaluation) =>
          evaluation.args.sampling === 'nucleus' && evaluation.args.temperature > 0
            ? nucleusDifference(judged, evaluation)
            : evaluationDifference(judged, evaluation),
        ))
      );
    });
  } finally {
    await programs.destroy();
  }
}

interface Judged {
  readonly one: SpeculativeCase;
  readonly programs: VerdictPrograms;
  readonly instance: Selection;
  readonly shape: TreeShape;
  readonly tokens: readonly number[];
}

async function candidateDifference(
  { one, instance, shape, tokens }: Judged,
  topk: number,
): Promise<string | undefined> {
  const heads = await one.tensor(`${instance.name}.head_logits`);
  const graph = trace((traced) => {
    const candidates = topK(traced.input('heads', heads.shape), topk).indices;
    traced.output('tokens', candidateTree(shape, { anchor: traced.input('anchor', [1], 'u32'), candidates }).tokens);
  });
  const program = await compile(graph, { device: one.device, name: 'candidates' });
  program.write('heads', Float32Array.from(heads.data));
  program.write('anchor', Uint32Array.of(tokens[0]!));
  const commands = new Commands(one.device).run(program);
  const read = commands.read(program, 'tokens');
  commands.submit();
  const got = Array.from(await read);
  program.destroy();
  return listDifference(`${instance.name}, candidates`, got, tokens);
}

/** The verifier that chooses as Medusa does with these settings; thresholds that are not given are those of the published functions. */
function typicalOf(
  { posterior_threshold: epsilon = 0.3, posterior_alpha: delta = 0.09 }: Evaluation['args'],
  next: 'most-likely' | 'drawn' = 'most-likely',
): Verifier {
  return typicalAcceptance({ epsilon, delta, next });
}

async function rootDifference({ one, programs, instance }: Judged, root: Root): Promise<string | undefined> {
  const { temperature = 0 } = root;
  const logits = rowsOf(await one.tensor(`${instance.name}.logits`));
  const verifier = {
    greedy: () => greedy(),
    typical: () => typicalOf({ ...root, temperature }, root.fast ? 'most-likely' : 'drawn'),
    nucleus: () => sampleAndMatch({ by: 'inverse' }),
  }[root.method]();
  const key = `${root.method} ${root.fast} ${root.posterior_threshold} ${root.posterior_alpha}`;
  const { next } = await programs.judge(key, verifier, {
    tokens: [0],
    logits,
    uniforms: root.uniforms ?? [],
    sampling: { temperature, topP: root.top_p ?? 1 },
  });
  return listDifference(`${instance.name}, root by ${root.method}`, [next], [root.root]);
}

async function evaluationDifference(
  { one, programs, instance, shape, tokens }: Judged,
  { method, args, accepted_tokens: want }: Evaluation,
): Promise<string | undefined> {
  // Upstream is greedy at temperature 0, whatever the sampling, and typical where no sampling is named.
  const verifier = args.temperature === 0 ? greedy() : typicalOf(args);
  const decided = await programs.judge(
    `${verifier.name} ${args.posterior_threshold} ${args.posterior_alpha}`,
    verifier,
    {
      tokens,
      parents: shape.parents,
      logits: rowsOf(await one.tensor(`${instance.name}.tree_logits`)),
      uniforms: [],
      sampling: { temperature: args.temperature },
    },
  );
  const accepted = decided.path.map((row) => tokens[row]!);
  // Upstream compares its padding, token 0, like a draft: where the target wants 0 behind a leaf, that counts as accepted.
  const padded = want.length === accepted.length + 1 && want.at(-1) === 0 && decided.next === 0;
  return listDifference(`${instance.name}, ${method}`, padded ? [...accepted, 0] : accepted, want);
}

/** Nucleus verdicts: upstream draws anew for each candidate and position, so each candidate is a chain of its own. */
async function nucleusDifference(
  { one, programs, instance, shape, tokens }: Judged,
  { method, args, accepted_tokens: want }: Evaluation,
): Promise<string | undefined> {
  const logits = rowsOf(await one.tensor(`${instance.name}.tree_logits`));
  const uniforms = rowsOf(await one.tensor(`${instance.name}.${method}.uniforms`));
  const sampling: SamplingSettings = { temperature: args.temperature, topP: args.top_p ?? 0.8 };
  let best: number[] = [tokens[0]!];
  for (const [index, path] of leafPaths(shape).entries()) {
    const chain = path.map((row) => tokens[row]!);
    const decided = await programs.judge('nucleus', sampleAndMatch({ by: 'inverse' }), {
      tokens: chain,
      logits: path.map((row) => logits[row]!),
      uniforms: uniforms[index]!,
      sampling,
    });
    if (decided.path.length > best.length) best = chain.slice(0, decided.path.length);
  }
  return listDifference(`${instance.name}, ${method}`, best, want);
}
