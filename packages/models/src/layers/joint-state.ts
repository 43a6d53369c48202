import { type DecoderState, reachableByAll } from '@forerun/contracts';

/**
 * Several memories of one conversation as one: they take in the same tokens, and go back together, to the longest length that all of
 * them can restore.
 */
export function jointState(parts: readonly [DecoderState, ...DecoderState[]]): DecoderState {
  const marking = parts.filter(({ mark }) => mark !== undefined);
  return {
    states: parts.flatMap(({ states }) => states),
    capacityTokens: Math.min(...parts.map(({ capacityTokens }) => capacityTokens)),
    commit: (accepted) => parts.forEach((part) => part.commit(accepted)),
    truncate: (to) => parts.forEach((part) => part.truncate(to)),
    ...(marking.length > 0 && { mark: (length) => marking.forEach((part) => part.mark!(length)) }),
    reachable: (length, past) => reachableByAll(parts, length, past),
  };
}
