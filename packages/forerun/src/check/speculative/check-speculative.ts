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

/** Runner of each case, by the name in its case.json. */
export const caseRunners: Readonly<Record<string, CaseRunner>> = {
  'draft-llama': modelCase,
  'eagle-loop': eagleLoop,
  'eagle-posterior': eaglePosterior,
  eagle1: eagleDraft,
  'eagle1-static': eagleStatic,
  eagle3: eagleDraft,
  'eagle3-full-vocab': eagleDraft,
  'hf-assisted': assistedRuns,
  'hf-prompt-lookup': promptLookup,
  'hf-speculative-sampling': speculativeSampling,
  'hydra-mlp': hydraCase,
  'hydra-prefix-mlp': hydraCase,
  layerskip: layerSkip,
  lookahead: lookaheadCase,
  'medusa-buffers': medusaBuffers,
  'medusa-heads': medusaHeadLogits,
  'medusa-loop': medusaLoop,
  'medusa-select': medusaSelect,
  'mtp-deepseek-v3': deepseekModule,
  'mtp-glm4-moe': deepseekModule,
  'mtp-mimo': mimoModule,
  'mtp-qwen3-5': qwenModule,
  'mtp-qwen3-next': qwenModule,
  retrieval: retrievalCase,
  'target-llama': modelCase,
  'typical-acceptance': typicalSets,
  'verifier-exact': verifierExact,
  'verifier-runs': verifierRuns,
};

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
  const cases: CaseResult[] = [];
  for (const { name } of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (only && !only.includes(name)) continue;
    const beside = (other: string) => folderSource(`${folder}/${other}`);
    const source = beside(name);
    if (!(await source.exists('case.json', { signal }).catch(() => false))) continue;
    signal?.throwIfAborted();
    const difference = await differenceIn(() => openCase(source, device, { signal, beside }));
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
async function differenceIn(open: () => Promise<SpeculativeCase>): Promise<string | undefined> {
  try {
    const one = await open();
    const runner = caseRunners[one.name];
    return runner ? await runner(one) : 'not built';
  } catch (error) {
    if (error instanceof ForerunError && error.code !== 'device-lost' && error.code !== 'aborted') {
      return `${error.code}: ${error.message}`;
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
