import type { Drafter, Round } from '@forerun/contracts';
import { loopWords, noState } from '@forerun/contracts';
import type { Graph, State, Tensor } from '@forerun/tensor';
import { ArgumentError, defineOperation, u32Array, u32Vectors } from '@forerun/tensor';
import {
  checkContinuations,
  type ContinuationOptions,
  type ContinuationTree,
  continuationTree,
  maxPlaces,
} from '../continuations/continuations.ts';
import { type Datastore, separator } from './datastore.ts';
import { type LookUpConstants, lookUpKernel } from './retrieval.wgsl.ts';

/** How text is looked up, and what is made of what was found. */
export interface RetrievalOptions extends Partial<ContinuationOptions> {
  /** Most tokens at the end of the history that are looked for; 16 by default, at most 63 more than `shortestMatch`. */
  readonly longestMatch?: number;
  /** Fewest; 2 by default. */
  readonly shortestMatch?: number;
  /** Most places whose continuations are counted, at most 4,096 (the default); of more, an even selection. */
  readonly places?: number;
}

/** A drafter that guesses from a datastore. */
export interface RetrievalDrafter extends Drafter {
  /** Proposes, and says how often each row was seen. */
  propose(round: Pick<Round, 'width' | 'history' | 'loop' | 'anchor'> & Partial<Round>): ContinuationTree;
}

type LookUpAttributes = Pick<LookUpConstants, 'longest' | 'shortest' | 'places'>;

/** Operands: history, loop, text, suffixes. Outputs: `[P]` begins, `[3]` found. */
const lookUpOperation = defineOperation<LookUpAttributes>({
  name: 'retrieval-look-up',
  infer: (_, { places }) => u32Vectors(places, 3),
  reference([history, loop, text, suffixes], { longest, shortest, places }) {
    const kept = Array.from(history!.data.subarray(0, loop!.data[loopWords.length]! + 1));
    let matched: number[] = [];
    let size = Math.min(longest, kept.length);
    for (; size >= shortest; size--) {
      const suffix = kept.slice(-size);
      matched = Array.from(suffixes!.data).filter((at) => suffix.every((token, i) => text!.data[at + i] === token));
      if (matched.some((at) => text!.data[at + size] !== separator)) break;
      matched = [];
    }
    const used = Math.min(matched.length, places);
    const begins = new Float64Array(places);
    for (let place = 0; place < used; place++) {
      begins[place] = matched[Math.floor((place * matched.length) / used)]! + size;
    }
    return [u32Array(begins), u32Array([used, used === 0 ? 0 : size, text!.data.length])];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const [history, loop, text, suffixes] = operands as readonly [State, State, Tensor, Tensor];
    lowering.dispatch(lookUpKernel, {
      constants: { ...attributes, capacity: history.shape[0]!, tokens: text.shape[0]! },
      bindings: {
        history: lowering.state(history),
        loopState: lowering.state(loop),
        text: lowering.tensor(text),
        suffixes: lowering.tensor(suffixes),
        begins: lowering.tensor(outputs[0]!),
        found: lowering.tensor(outputs[1]!),
      },
      workgroups: [1, 1, 1],
    });
  },
});

/**
 * Retrieval: looks for the longest end of the history that occurs in a datastore of the user's and is followed by something there,
 * counts how its occurrences go on, and proposes the most frequent continuations as a tree (or the most frequent as a chain). The datastore
 * is a text with its suffix array, bisected on the GPU; it lies on the device once, whatever the number of conversations, until the
 * device is closed. Four dispatches, no weights, no state.
 *
 * Source: He et al. 2023, "REST: Retrieval-Based Speculative Decoding", arXiv:2311.08252. There ties between equally frequent nodes
 * fall as a hash map has it; here to shallow nodes, then to smaller tokens.
 *
 * @param datastore - From `buildDatastore` or `readDatastore`.
 * @throws {@link ArgumentError} for options that make no sense
 */
export function retrieval(datastore: Datastore, options: RetrievalOptions = {}): RetrievalDrafter {
  const { longestMatch = 16, shortestMatch = 2, places = maxPlaces } = options;
  const { form = 'tree', longest = 10, factor = Infinity, offset = 0, minProbability = 0 } = options;
  const continuations: ContinuationOptions = { form, longest, factor, offset, minProbability };
  checkContinuations('retrieval', continuations);
  const whole = Number.isInteger(longestMatch) && Number.isInteger(shortestMatch);
  if (!whole || shortestMatch < 1 || longestMatch < shortestMatch || longestMatch >= shortestMatch + 64) {
    throw new ArgumentError(
      `retrieval: expected integers with 1 <= shortestMatch <= longestMatch < shortestMatch + 64, got ${shortestMatch} and ${longestMatch}.`,
    );
  }
  if (!Number.isInteger(places) || places < 1 || places > maxPlaces) {
    throw new ArgumentError(`retrieval: places is an integer from 1 to ${maxPlaces}, got ${places}.`);
  }
  const tables = (graph: Graph) => [graph.constant(datastore.tokens), graph.constant(datastore.suffixes)] as const;
  return {
    name: 'retrieval',
    needs: {},
    gives: { distribution: false },
    state: () => noState,
    prefill: () => undefined,
    propose({ width, history, loop, anchor, decoder }) {
      const { graph } = anchor;
      const [text, suffixes] = tables(graph);
      const attributes = { longest: longestMatch, shortest: shortestMatch, places };
      const [begins, found] = graph.apply(lookUpOperation, [history, loop, text, suffixes], attributes);
      return continuationTree(
        { text, begins: begins!, found: found! },
        { anchor, width, decoder, options: continuations },
      );
    },
    absorb: () => undefined,
  };
}
