import { readdir } from 'node:fs/promises';
import { folderSource } from '@forerun/checkpoints';
import { type Device, ForerunError } from '@forerun/tensor';
import { GoldenFileError } from '../golden-file.ts';
import { assistedRuns } from './assisted-cases.ts';
import { eagleDraft } from './eagle-cases.ts';
import { eagleLoop } from './eagle-loop-cases.ts';
import { eagleStatic } from './eagle-static-cases.ts';
import { layerSkip } from './early-exit-cases.ts';
import { verifierExact } from './enumeration-cases.ts';
import { hydraCase, medusaHeadLogits } from './head-cases.ts';
import { lookaheadCase } from './lookahead-cases.ts';
import { promptLookup } from './lookup-cases.ts';
import { medusaBuffers, medusaSelect, typicalSets } from './medusa-cases.ts';
import { medusaLoop } from './medusa-loop-cases.ts';
import { modelCase } from './model-cases.ts';
import { deepseekModule, mimoModule, qwenModule } from './prediction-cases.ts';
import { retrievalCase } from './retrieval-cases.ts';
import { openCase, type SpeculativeCase } from './speculative-case.ts';
import { eaglePosterior, speculativeSampling, verifierRuns } from './verdict-cases.ts';

/** Holds one case: what differs first, or nothing. */
export type CaseRunner = (one: SpeculativeCase) => Promise<string | undefined>;

/** What holds a case, and the facts that its case.json has to list. */
interface Method {
  readonly run: CaseRunner;
  readonly facts: readonly string[];
}

const draft: Method = { run: eagleDraft, facts: ['trees'] };
const heads: Method = { run: hydraCase, facts: ['runs'] };
const model: Method = { run: modelCase, facts: [] };
const qwen: Method = { run: qwenModule, facts: [] };
const deepseek: Method = { run: deepseekModule, facts: ['runs'] };

const methods = new Map<string, Method>([
  ['draft-llama', model],
  ['eagle-loop', { run: eagleLoop, facts: ['runs'] }],
  ['eagle-posterior', { run: eaglePosterior, facts: ['instances'] }],
  ['eagle1', draft],
  ['eagle1-static', { run: eagleStatic, facts: ['trees', 'runs'] }],
  ['eagle3', draft],
  ['eagle3-full-vocab', draft],
  ['hf-assisted', { run: assistedRuns, facts: ['runs'] }],
  ['hf-prompt-lookup', { run: promptLookup, facts: ['sequences', 'instances', 'runs'] }],
  ['hf-speculative-sampling', { run: speculativeSampling, facts: ['instances'] }],
  ['hydra-mlp', heads],
  ['hydra-prefix-mlp', heads],
  ['layerskip', { run: layerSkip, facts: ['params', 'tensors', 'runs'] }],
  ['lookahead', { run: lookaheadCase, facts: ['pool_operations', 'runs'] }],
  ['medusa-buffers', { run: medusaBuffers, facts: ['params', 'choices'] }],
  ['medusa-heads', { run: medusaHeadLogits, facts: [] }],
  ['medusa-loop', { run: medusaLoop, facts: ['runs'] }],
  ['medusa-select', { run: medusaSelect, facts: ['params', 'choices', 'instances'] }],
  ['mtp-deepseek-v3', deepseek],
  ['mtp-glm4-moe', deepseek],
  ['mtp-mimo', { run: mimoModule, facts: [] }],
  ['mtp-qwen3-5', qwen],
  ['mtp-qwen3-next', qwen],
  ['retrieval', { run: retrievalCase, facts: ['queries'] }],
  ['target-llama', model],
  ['typical-acceptance', { run: typicalSets, facts: ['sets'] }],
  ['verifier-exact', { run: verifierExact, facts: ['params', 'results'] }],
  ['verifier-runs', { run: verifierRuns, facts: ['chains', 'trees'] }],
]);

/** Runner of each case, by the name in its case.json. */
export const caseRunners: Readonly<Record<string, CaseRunner>> = Object.fromEntries(
  Array.from(methods, ([name, { run }]) => [name, run]),
);

/** The name of a case's method: its own, or the longest that it goes on from, as in `eagle1-static-seed-3`; empty without. */
function methodName(name: string): string {
  return [...methods.keys()]
    .filter((known) => name === known || (/^[-_.]/.test(name.slice(known.length)) && name.startsWith(known)))
    .reduce((best, known) => (known.length > best.length ? known : best), '');
}

/** The folder of another case that a case takes models from: the one whose name goes on in the same way, where there is one. */
function besideOf(name: string, folders: ReadonlySet<string>): (other: string) => string {
  const known = methodName(name);
  const rest = known ? name.slice(known.length) : '';
  return (other) => (folders.has(other + rest) ? other + rest : other);
}

/** How a case compares. */
export interface CaseResult {
  readonly name: string;
  /** What differs, with the figure; absent where all is well. */
  readonly difference?: string;
}

/** How a folder of cases compares. */
export interface SpeculativeResult {
  readonly cases: readonly CaseResult[];
  readonly ok: boolean;
}

/** How cases are checked. */
export interface SpeculativeOptions {
  /** Folders to look at; all by default. */
  readonly only?: readonly string[];
  readonly signal?: AbortSignal;
  /** Told each case when it is done. */
  readonly onCase?: (result: CaseResult) => void;
}

/**
 * Holds the methods of speculation to golden outputs of published implementations: every folder under `folder` that has a case.json.
 * A case of a method that is not built counts as missed.
 *
 * @throws GoldenFileError where there is no case; errors of the device. Cases that miss are no errors.
 */
export async function checkSpeculative(
  folder: string,
  device: Device,
  { only, signal, onCase }: SpeculativeOptions = {},
): Promise<SpeculativeResult> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    throw new GoldenFileError(`${folder}: expected a folder of cases, got something that cannot be listed.`, { cause });
  });
  const folders = new Set(entries.map(({ name }) => name));
  const cases: CaseResult[] = [];
  for (const { name } of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (only && !only.includes(name)) continue;
    const source = folderSource(`${folder}/${name}`);
    const folderOf = besideOf(name, folders);
    const beside = (other: string) => folderSource(`${folder}/${folderOf(other)}`);
    if (!(await source.exists('case.json', { signal }).catch(() => false))) continue;
    signal?.throwIfAborted();
    const difference = await differenceIn(source.describe(), () => openCase(source, device, { signal, beside }));
    signal?.throwIfAborted();
    const result: CaseResult = difference === undefined ? { name } : { name, difference };
    cases.push(result);
    onCase?.(result);
  }
  if (cases.length === 0) {
    throw new GoldenFileError(`${folder}: expected folders with a case.json, got none.`);
  }
  return { cases, ok: cases.every(({ difference }) => difference === undefined) };
}

/** What differs in a case; a case that its method refuses, or that cannot be read, differs too. */
async function differenceIn(where: string, open: () => Promise<SpeculativeCase>): Promise<string | undefined> {
  try {
    const one = await open();
    const method = methods.get(methodName(one.name));
    if (!method) return 'not built';
    const missing = method.facts.filter((fact) => typeof one.facts[fact] !== 'object' || one.facts[fact] === null);
    return missing.length > 0 ? `case.json lacks ${missing.join(', ')}` : await method.run(one);
  } catch (error) {
    if (error instanceof ForerunError) {
      if (error.code === 'device-lost' || error.code === 'aborted') throw error;
      return `${error.code}: ${error.message}`;
    }
    // Cases are data from elsewhere: what a runner trips over in one is no reason to leave out those behind it.
    if (error instanceof TypeError || error instanceof RangeError) {
      return `${where}: its case.json or tensors are not of the expected form (${error.message})`;
    }
    throw error;
  }
}

/** The line that `forerun check --speculative` prints for a case. */
export function caseLine({ name, difference }: CaseResult): string {
  return `${name}  ${difference ?? 'ok'}`;
}

/** Its last line: how many cases hold, of how many. */
export function caseTotal({ cases }: SpeculativeResult): string {
  return `${cases.filter(({ difference }) => difference === undefined).length}/${cases.length}`;
}
