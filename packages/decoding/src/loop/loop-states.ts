import type { Sampling } from '@forerun/contracts';
import { loopStateWords } from '@forerun/contracts';
import { State } from '@forerun/tensor';

/** Most stop tokens that a run can have. */
export const maxStopTokens = 32;
/** Depths that statistics tell apart. */
export const maxDepths = 64;

/** Where things lie in the loop state behind the contracts' `loopWords`. */
export const loopLayout = {
  /** Number of stop tokens. */
  stopCount: loopStateWords,
  /** Rows of the last verified tree that were in use. */
  proposalCount: loopStateWords + 1,
  /** Rows of its accepted path, the anchor included, before stops and limits. */
  proposalAccepted: loopStateWords + 2,
  /** The token that the target chose behind that path. */
  proposalNext: loopStateWords + 3,
  /** 0: it was a chain, and each row's parent is the row before; 1: parents lie at `proposalParents`. */
  proposalBranches: loopStateWords + 4,
  /** Stop tokens. */
  stops: loopStateWords + 8,
  /** How often a draft was verified at each depth, from depth 1. */
  draftedAtDepth: loopStateWords + 8 + maxStopTokens,
  /** How often it was accepted. */
  acceptedAtDepth: loopStateWords + 8 + maxStopTokens + maxDepths,
  /** Tokens of the last verified tree, the anchor first. */
  proposal: loopStateWords + 8 + maxStopTokens + 2 * maxDepths,
  /** End of what is read after every round; what follows is read for reports of rounds only. */
  counterWords: loopStateWords + 8 + maxStopTokens + 3 * maxDepths,
  /** Row of each row's parent, where it was no chain. */
  proposalParents: loopStateWords + 8 + maxStopTokens + 3 * maxDepths,
  /** Rows of the accepted path, the anchor first. */
  proposalPath: loopStateWords + 8 + maxStopTokens + 4 * maxDepths,
  words: loopStateWords + 8 + maxStopTokens + 5 * maxDepths,
} as const;

/** Why a run ended, as the GPU writes it into the loop state. */
export const stopReasons = ['none', 'stop-token', 'max-tokens', 'capacity', 'not-a-number'] as const;

/** The states that a conversation's loop owns, besides the model's and the drafter's. */
export interface LoopStates {
  /** u32: the contracts' `loopWords`, stop tokens and statistics; kernels may bind it as uniform. */
  readonly loop: State;
  /** `[capacity]` u32: every kept token, the anchor included. */
  readonly history: State;
  readonly sampling: Sampling;
}

/** Declares the loop's states for conversations of at most `capacityTokens` tokens. */
export function loopStates(capacityTokens: number, vocabSize: number): LoopStates {
  const state = (name: string, shape: readonly number[]) => new State({ name: `loop.${name}`, shape, dtype: 'u32' });
  return {
    loop: state('words', [loopLayout.words]),
    history: state('history', [capacityTokens]),
    sampling: { settings: state('settings', [16]), counts: state('counts', [2, vocabSize]) },
  };
}
