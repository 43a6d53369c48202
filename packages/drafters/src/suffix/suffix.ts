import type { Drafter, Round } from '@forerun/contracts';
import { loopWords, noState } from '@forerun/contracts';
import type { State, Tensor } from '@forerun/tensor';
import { ArgumentError, defineOperation, u32Array } from '@forerun/tensor';
import {
  checkContinuations,
  type ContinuationOptions,
  type ContinuationTree,
  continuationTree,
} from '../continuations/continuations.ts';
import { separator } from '../retrieval/datastore.ts';
import { blockPlaces, type ScanConstants, scanKernel, sortPlacesKernel } from './suffix.wgsl.ts';

/** How the text so far is searched, and what is made of what was found. */
export interface SuffixOptions extends Partial<ContinuationOptions> {
  /** Most tokens at the end of the history that are looked for, up to 255; 32 by default. */
  readonly longestMatch?: number;
  /** Fewest; 1 by default. */
  readonly shortestMatch?: number;
}

/** A drafter that counts how the end of the text so far went on before. */
export interface SuffixDrafter extends Drafter {
  /** Proposes, and says how often each row was seen. */
  propose(round: Pick<Round, 'width' | 'history' | 'loop' | 'anchor'> & Partial<Round>): ContinuationTree;
}

/** Most places that are counted: room for the last blocks that are looked at. */
const places = 2 * blockPlaces;

/** Operands: history, loop. Outputs: `[P]` begins in any order, `[3]` found. */
const scanOperation = defineOperation<Pick<ScanConstants, 'longest' | 'shortest'>>({
  name: 'suffix-scan',
  infer: () => [
    { shape: [places], dtype: 'u32' },
    { shape: [3], dtype: 'u32' },
  ],
  reference([history, loop], { longest, shortest }) {
    const end = Math.min(loop!.data[loopWords.length]! + 1, history!.data.length);
    const kept = Array.from(history!.data.subarray(0, end));
    const lengthOf = (place: number): number => {
      let matched = 0;
      while (matched < Math.min(longest, place) && kept[place - 1 - matched] === kept[end - 1 - matched]) matched++;
      return matched;
    };
    const lengths = kept.map((_, place) => (place === 0 ? 0 : lengthOf(place)));
    const best = Math.max(...lengths);
    const matched = best >= shortest ? best : 0;
    const begins: number[] = [];
    for (let begin = 1; matched > 0 && begin < end && begins.length <= places - blockPlaces; begin += blockPlaces) {
      for (let back = begin; back < Math.min(begin + blockPlaces, end); back++) {
        if (lengths[end - back] === matched) begins.push(end - back);
      }
    }
    return [
      u32Array(Array.from({ length: places }, (_, place) => begins[place] ?? 0)),
      u32Array([begins.length, matched, end]),
    ];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const [history, loop] = operands as readonly [State, State];
    const capacity = history.shape[0]!;
    lowering.dispatch(scanKernel, {
      constants: { ...attributes, capacity, places },
      bindings: {
        history: lowering.state(history),
        loopState: lowering.state(loop),
        begins: lowering.tensor(outputs[0]!),
        found: lowering.tensor(outputs[1]!),
      },
      workgroups: [1, 1, 1],
      bytes: (bound) => Math.min(bound, capacity) * 8,
    });
  },
});

/** Operands: history, begins, found. Output: `[P]` begins, sorted by what follows, then by place. */
const sortPlacesOperation = defineOperation<{ readonly longest: number }>({
  name: 'suffix-sort-places',
  infer: ([, begins]) => [{ shape: (begins as Tensor).shape, dtype: 'u32' }],
  reference([history, begins, found], { longest }) {
    const tokenAt = (at: number) => (at < found!.data[2]! ? history!.data[at]! : separator);
    const sorted = Array.from(begins!.data.subarray(0, found!.data[0]!)).sort((a, b) => {
      for (let i = 0; i < longest && tokenAt(a + i) !== separator; i++) {
        if (tokenAt(a + i) !== tokenAt(b + i)) return tokenAt(a + i) - tokenAt(b + i);
      }
      return a - b;
    });
    return [u32Array(Array.from({ length: begins!.data.length }, (_, place) => sorted[place] ?? 0))];
  },
  lower(lowering, { operands, outputs, attributes: { longest } }) {
    const [history, begins, found] = operands as readonly [State, Tensor, Tensor];
    lowering.dispatch(sortPlacesKernel, {
      constants: { places, longest },
      bindings: {
        history: lowering.state(history),
        begins: lowering.tensor(begins),
        found: lowering.tensor(found),
        sorted: lowering.tensor(outputs[0]!),
      },
      workgroups: [Math.ceil(places / 64), 1, 1],
    });
  },
});

/**
 * Suffix decoding: finds every earlier place of the text so far, prompt and output, that agrees longest with its end, counts how they
 * went on, and proposes the most frequent continuations: more tokens the longer the match (`factor` times its length, plus `offset`), and
 * none that fewer than `minProbability` of the places went through. As a tree of the most frequent nodes, or as the chain of the most
 * frequent next tokens. No tree is kept: one workgroup scans the history anew each round. Of more than about a thousand places the latest
 * count. Five dispatches, no weights, no state.
 *
 * Source: Oliaro et al. 2024, "SuffixDecoding", arXiv:2411.04975, with the longest match in place of the best-scored one and the
 * conversation's own text in place of all past ones.
 * @throws {@link ArgumentError} for options that make no sense
 */
export function suffix(options: SuffixOptions = {}): SuffixDrafter {
  const { longestMatch = 32, shortestMatch = 1 } = options;
  const { form = 'tree', longest = 32, factor = 1, offset = 0, minProbability = 0.1 } = options;
  const continuations: ContinuationOptions = { form, longest, factor, offset, minProbability };
  checkContinuations('suffix', continuations);
  const whole = Number.isInteger(longestMatch) && Number.isInteger(shortestMatch);
  if (!whole || shortestMatch < 1 || longestMatch < shortestMatch || longestMatch > 255) {
    throw new ArgumentError(
      `suffix: expected integers with 1 <= shortestMatch <= longestMatch <= 255, got ${shortestMatch} and ${longestMatch}.`,
    );
  }
  return {
    name: 'suffix',
    needs: {},
    gives: { distribution: false },
    state: () => noState,
    prefill: () => undefined,
    propose({ width, history, loop, anchor, decoder }) {
      const { graph } = anchor;
      const attributes = { longest: longestMatch, shortest: shortestMatch };
      const [unsorted, found] = graph.apply(scanOperation, [history, loop], attributes);
      const [begins] = graph.apply(sortPlacesOperation, [history, unsorted!, found!], { longest });
      return continuationTree(
        { text: history, begins: begins!, found: found! },
        { anchor, width, decoder, options: continuations },
      );
    },
    absorb: () => undefined,
  };
}
