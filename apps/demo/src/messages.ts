import type { AdapterDescription, GenerationPiece, GenerationStatistics, ModelLoadProgress } from 'forerun';
import type { Settings } from './settings.ts';

/** What the page asks of the worker. */
export type Request =
  | { readonly type: 'load'; readonly models: string }
  | { readonly type: 'tell'; readonly id: number; readonly settings: Settings }
  | { readonly type: 'stop' };

/** What the worker says. Pieces and ends carry the id of the telling that they belong to. */
export type Answer =
  | { readonly type: 'progress'; readonly progress: ModelLoadProgress }
  | { readonly type: 'ready'; readonly adapter: AdapterDescription; readonly totalBytes: number }
  | { readonly type: 'piece'; readonly id: number; readonly piece: GenerationPiece }
  | { readonly type: 'end'; readonly id: number; readonly statistics: GenerationStatistics }
  | { readonly type: 'stopped'; readonly id: number }
  | { readonly type: 'failure'; readonly id: number | undefined; readonly code: string; readonly message: string };
