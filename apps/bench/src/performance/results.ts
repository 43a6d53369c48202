/** What lies in `results`, told apart by what it holds. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ChromiumResult } from '../chromium/compare-chromium.ts';

/** A committed file that is no result of a benchmark that the page knows. */
export class ResultFileError extends Error {
  constructor(file: string, problem: string) {
    super(`${file}: ${problem}`);
    this.name = 'ResultFileError';
  }
}

/** One step of plain decoding. */
interface Step {
  readonly context: number;
  readonly ms_per_token: number;
  readonly gpu_ms?: number;
  readonly encode_ms: number;
  readonly floor_ms: number;
  readonly dispatches: number;
  readonly bytes: number;
}

/** A kernel, or kernels of one kind, in a step. */
export interface KernelRow {
  readonly name: string;
  readonly dispatches: number;
  /** Absent where it was not reckoned. */
  readonly bytes?: number;
  readonly ms: number;
}

interface Adapter {
  readonly kind: 'hardware' | 'software';
  readonly device: string;
  readonly description: string;
}

/** Cost of a drafter's round. */
export interface RoundRow {
  readonly drafter: string;
  readonly nodes: number;
  readonly round_ms: number;
  readonly sections_ms?: { readonly draft: number; readonly verify: number; readonly commit: number };
  readonly break_even_acceptance_length: number;
}

/** `forerun bench --config … --random --json`. */
export interface EngineResult {
  readonly config: string;
  readonly weights: string;
  readonly cache: string;
  readonly arithmetic?: 'f32' | 'f16' | 'i8';
  readonly adapter: Adapter;
  readonly output_checked: boolean;
  readonly bandwidth_gb_per_s: number;
  readonly decode: Step;
  readonly contexts: readonly Step[];
  readonly kernels?: readonly KernelRow[];
  readonly widths: Readonly<Record<string, number>>;
  readonly prefill: Readonly<Record<string, number>>;
  readonly memory: { readonly reckoned_bytes: number; readonly peak_bytes: number };
  readonly speculation?: {
    readonly context: number;
    readonly replay?: {
      readonly points: readonly {
        readonly acceptance: number;
        readonly width: number | 'auto';
        readonly ratio: number;
        readonly predicted_ratio?: number;
        readonly acceptance_length: number;
      }[];
    };
    readonly draft: readonly RoundRow[];
    readonly heads: Readonly<Record<string, readonly RoundRow[]>>;
  };
}

/** `forerun bench --json`. */
export interface ModelResult {
  readonly adapter: Adapter;
  readonly model: string;
  readonly tokens: number;
  readonly same: boolean;
  readonly figures: readonly {
    readonly drafter: string;
    readonly tokensPerSecond: number;
    readonly ratio: number;
    readonly statistics: { readonly acceptanceLength: number };
  }[];
}

/** `forerun bench speculative --json`. */
export interface SpeculativeResult {
  readonly adapter: Adapter;
  readonly model: string;
  readonly prompts: number;
  readonly tokens: number;
  readonly rows: readonly {
    readonly drafter: string;
    readonly verifier: string;
    readonly temperature: number;
    readonly acceptance_length: number;
    readonly tokens_per_second: number;
    readonly ratio: number;
    readonly min_ratio: number;
  }[];
}

/** `peers PRESET`: engines that took turns on one file. */
export interface PeerRunResult {
  readonly model: string;
  readonly engines: readonly {
    readonly name: string;
    readonly figures?: {
      readonly engine: string;
      readonly version: string;
      readonly device: string;
      readonly greedy_ms: number;
      readonly prefill_512_ms?: number;
    };
    readonly greedy_over_ours?: number;
    readonly failure?: string;
  }[];
}

interface Card {
  readonly device: string;
  readonly driver: string;
  readonly method: string;
}

/** Times of one step's kernels, written down by hand from a profile. */
export interface KernelTimesResult extends Card {
  readonly kind: 'kernel-times';
  readonly config: string;
  readonly arithmetic: 'f32' | 'f16' | 'i8';
  readonly context: number;
  /** What a pass of its own adds to each dispatch, in us. */
  readonly pass_us: number;
  readonly kernels: readonly KernelRow[];
}

/** Matrix kernels outside of any model, from which predictions come. */
export interface KernelsAloneResult extends Card {
  readonly kind: 'kernels-alone';
  readonly ceiling_gb_per_s: number;
  readonly dispatch_us: number;
  readonly fraction_of_ceiling: Readonly<Record<'f32' | 'f16' | 'i8', number>>;
  readonly chains: readonly {
    readonly model: string;
    readonly dispatches: number;
    readonly arithmetic: 'f32' | 'f16' | 'i8';
    readonly ms: number;
    readonly ratios: Readonly<Record<string, number>>;
  }[];
}

/** Other stacks on the same shapes. */
export interface PeersMeasuredResult extends Card {
  readonly kind: 'peers-measured';
  readonly host: string;
  /** What a streaming read reached. */
  readonly read_gb_per_s: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly decode: readonly PeerTimes[];
  readonly prefill_512: readonly PeerTimes[];
  readonly passes: readonly {
    readonly stack: string;
    readonly model: string;
    readonly ms: Readonly<Record<string, number>>;
  }[];
}

/** Milliseconds of a stack by model. */
export interface PeerTimes {
  readonly stack: string;
  readonly 'qwen3-0.6b': number;
  readonly 'llama-3.1-8b': number;
}

/** What was tried. */
export interface TriedResult {
  readonly kind: 'tried';
  readonly entries: readonly {
    readonly what: string;
    readonly gave: string;
    readonly outcome: 'kept' | 'failed' | 'open';
    /** Words of docs/log.md that say so. */
    readonly log: string;
  }[];
}

/** All committed results by kind, each with its file's name. */
export interface Results {
  readonly engines: readonly (readonly [file: string, result: EngineResult])[];
  readonly models: readonly (readonly [file: string, result: ModelResult])[];
  readonly speculative: readonly (readonly [file: string, result: SpeculativeResult])[];
  readonly peerRuns: readonly (readonly [file: string, result: PeerRunResult])[];
  readonly kernelTimes: readonly (readonly [file: string, result: KernelTimesResult])[];
  readonly chromium: readonly (readonly [file: string, result: ChromiumResult])[];
  readonly alone: KernelsAloneResult;
  readonly peers: PeersMeasuredResult;
  readonly tried: TriedResult;
}

type Kind = keyof Results | 'ignored';

function kindOf(file: string, value: Record<string, unknown>): Kind {
  const named = {
    'kernel-times': 'kernelTimes',
    chromium: 'chromium',
    'kernels-alone': 'alone',
    'peers-measured': 'peers',
    tried: 'tried',
  } as const;
  const kind = value['kind'];
  if (typeof kind === 'string' && kind in named) return named[kind as keyof typeof named];
  if ('decode' in value && 'widths' in value) return 'engines';
  if ('engines' in value) return 'peerRuns';
  if ('figures' in value) return 'models';
  if ('rows' in value && 'left_out' in value) return 'speculative';
  // Other scripts' results are kept beside these, and the page does not show them.
  if ('adapter' in value || 'kind' in value || 'parts' in value) return 'ignored';
  throw new ResultFileError(
    file,
    'expected the JSON of a benchmark of apps/bench; found no field that one of them has.',
  );
}

/**
 * Reads every JSON file of a folder.
 *
 * @throws {@link ResultFileError} for a file that no benchmark writes, for figures of a software adapter or of outputs that were wrong,
 *   and for a folder without one of the hand-written files.
 */
export function readResults(folder: string): Results {
  const found: Record<Kind, [string, unknown][]> = {
    engines: [],
    models: [],
    speculative: [],
    peerRuns: [],
    kernelTimes: [],
    chromium: [],
    alone: [],
    peers: [],
    tried: [],
    ignored: [],
  };
  for (const file of readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()) {
    const value = JSON.parse(readFileSync(join(folder, file), 'utf8')) as Record<string, unknown>;
    const { adapter, output_checked, same } = value as { adapter?: Adapter; output_checked?: boolean; same?: boolean };
    if (adapter && adapter.kind !== 'hardware') throw new ResultFileError(file, 'measured on a software adapter.');
    if (output_checked === false || same === false) throw new ResultFileError(file, 'its outputs were wrong.');
    found[kindOf(file, value)].push([file, value]);
  }
  const one = (kind: 'alone' | 'peers' | 'tried'): unknown => {
    const [first, second] = found[kind];
    if (!first || second) throw new ResultFileError(folder, `expected one file of kind "${kind}".`);
    return first[1];
  };
  return {
    engines: found.engines as [string, EngineResult][],
    models: found.models as [string, ModelResult][],
    speculative: found.speculative as [string, SpeculativeResult][],
    peerRuns: found.peerRuns as [string, PeerRunResult][],
    kernelTimes: found.kernelTimes as [string, KernelTimesResult][],
    chromium: found.chromium as [string, ChromiumResult][],
    alone: one('alone') as KernelsAloneResult,
    peers: one('peers') as PeersMeasuredResult,
    tried: one('tried') as TriedResult,
  };
}
