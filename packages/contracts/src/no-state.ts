import type { DrafterState } from './round.ts';

/** The state of a drafter that remembers nothing of its own. */
export const noState: DrafterState = { states: [], truncate: () => undefined, reachable: (length) => length };
