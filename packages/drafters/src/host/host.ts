import type { Drafter, DrafterState } from '@forerun/contracts';
import { concat, readState, slice, State } from '@forerun/tensor';
import { maxTreeWidth } from '../trees/tree-shape.ts';

/** What a user's function is asked: tokens that may follow all those kept so far, prompt included. */
export type HostFunction = (tokens: Uint32Array) => Promise<readonly number[]> | readonly number[];

/**
 * Drafts with a function of yours that runs on the host: it gets every token kept so far, prompt included, and returns those that it
 * expects next, none for no guess. The loop waits for each round's tokens before it asks, so that a round costs a readback and only one is
 * in flight; statistics tell the time that the function took as `hostMs`.
 *
 * Tokens behind what a round can verify are left out, and ids that are no tokens of the target are never accepted. What the function
 * throws ends the run as its error; the conversation can go on.
 *
 * @param options - `name`: name in statistics, `host` by default.
 */
export function host(fn: HostFunction, options: { readonly name?: string } = {}): Drafter {
  const { name = 'host' } = options;
  return {
    name,
    needs: {},
    gives: { distribution: false },
    state(): DrafterState {
      const guess = new State({ name: `${name} guess`, shape: [maxTreeWidth], dtype: 'u32' });
      return { guess, states: [guess], truncate: () => undefined, reachable: (length) => length };
    },
    prefill: () => undefined,
    propose({ width, anchor }, state) {
      const { guess } = state as Required<Pick<DrafterState, 'guess'>>;
      const words = readState(anchor.graph, guess);
      return {
        width,
        depth: width - 1,
        chain: true,
        tokens: concat([anchor, slice(words, 0, [1, width])], 0),
        count: slice(words, 0, [0, 1])
          .min(width - 1)
          .add(1),
      };
    },
    absorb: () => undefined,
    host: async (tokens) => fn(tokens),
  };
}
