import type { AdapterDescription, GenerationPiece, GenerationStatistics, ModelLoadProgress } from 'forerun';
import type { Settings } from './settings.ts';

/** What the page asks of the worker. */
export type Request =
  | { readonly type: 'load'; readonly models: string }
  | { readonly type: 'tell'; readonly id: number; readonly settings: Settings }
  | { readonly type: 'compare'; readonly id: number; readonly settings: Settings }
  | { readonly type: 'stop' };

/** What one drafter made of the prompt, held against plain decoding. */
export interface Compared {
  readonly drafter: string;
  readonly statistics: GenerationStatistics;
  /** Whether its text is that of plain decoding, token for token. */
  readonly same: boolean;
}

/** A drafter that could not be run, and why. */
export interface NotCompared {
  readonly drafter: string;
  readonly failure: string;
}

/** What the worker says. Everything but `progress` and `ready` carries the id of the request that it belongs to. */
export type Answer =
  | { readonly type: 'progress'; readonly progress: ModelLoadProgress }
  | {
      readonly type: 'ready';
      readonly adapter: AdapterDescription;
      /** Names of the drafters that the model can be used with, and the one that it takes when it is not told. */
      readonly drafters: readonly string[];
      readonly defaultDrafter: string;
    }
  | { readonly type: 'piece'; readonly id: number; readonly piece: GenerationPiece }
  | { readonly type: 'end'; readonly id: number; readonly statistics: GenerationStatistics }
  | { readonly type: 'comparing'; readonly id: number; readonly drafter: string }
  | { readonly type: 'compared'; readonly id: number; readonly outcome: Compared | NotCompared }
  | { readonly type: 'comparison-end'; readonly id: number }
  | { readonly type: 'stopped'; readonly id: number }
  | { readonly type: 'failure'; readonly id: number | undefined; readonly code: string; readonly message: string };
