import type { Drafter } from '@forerun/contracts';
import { loopWords } from '@forerun/contracts';
import type { Operand, State } from '@forerun/tensor';
import { ArgumentError, defineOperation } from '@forerun/tensor';
import { noState } from '../no-state.ts';
import { nGramKernel, positionBits } from './n-gram.wgsl.ts';

/** How a continuation is looked up. */
export interface NGramOptions {
  /** Most tokens at the end of the history that are looked for; 3 by default. */
  readonly longest?: number;
  /** Fewest; 1 by default. */
  readonly shortest?: number;
  /**
   * Which of several matches of the same `longest` or fewer tokens to continue: the last one (default), the first, as transformers does,
   * or the one that agrees with the end of the history furthest back, up to 255 tokens, and of those the last.
   */
  readonly prefer?: 'latest' | 'earliest' | 'longest';
}

/** Most tokens of a match. */
const maxMatch = 255;

interface NGramAttributes extends Required<NGramOptions> {
  readonly width: number;
}

const nGramOperation = defineOperation<NGramAttributes>({
  name: 'n-gram',
  infer: (_, { width }) => [
    { shape: [width], dtype: 'u32' },
    { shape: [1], dtype: 'u32' },
  ],
  reference([history, loop], { width, longest, shortest, prefer }) {
    const kept = Array.from(history!.data.subarray(0, loop!.data[loopWords.length]! + 1));
    const tokens = new Float64Array(width);
    tokens[0] = kept.at(-1)!;
    let drafts: number[] = [];
    const most = prefer === 'longest' ? maxMatch : longest;
    for (let n = Math.min(most, kept.length - 1); n >= shortest && drafts.length === 0; n--) {
      const suffix = kept.slice(-n);
      const begins = [...kept.keys()].filter(
        (begin) => begin + n < kept.length && suffix.every((token, i) => kept[begin + i] === token),
      );
      const begin = prefer === 'earliest' ? begins[0] : begins.at(-1);
      if (begin !== undefined) drafts = kept.slice(begin + n, begin + n + width - 1);
    }
    tokens.set(drafts, 1);
    return [
      { shape: [width], dtype: 'u32', data: tokens },
      { shape: [1], dtype: 'u32', data: Float64Array.of(drafts.length + 1) },
    ];
  },
  lower(lowering, { operands, outputs, attributes: { width, longest, shortest, prefer } }) {
    const [history, loop] = operands as readonly [State, State];
    const capacity = history.shape[0]!;
    lowering.dispatch(nGramKernel, {
      constants: { width, capacity, longest: prefer === 'longest' ? maxMatch : longest, shortest, prefer },
      bindings: {
        history: lowering.state(history),
        loopState: lowering.state(loop),
        tokens: lowering.tensor(outputs[0]!),
        count: lowering.tensor(outputs[1]!),
      },
      workgroups: [1, 1, 1],
      bytes: (bound) => Math.min(bound, capacity) * 4,
    });
  },
});

/**
 * Prompt lookup: finds the last `longest` tokens (or, failing that, fewer, down to `shortest`) earlier in the history and proposes
 * what followed them, up to the end of the history; nothing where they do not occur. One dispatch, no weights, no state.
 *
 * Source: Saxena 2023, "Prompt lookup decoding"; `PromptLookupCandidateGenerator` in transformers.
 * @throws {@link ArgumentError} for lengths that are not 1 <= shortest <= longest <= 255, or a history above 2^24 tokens
 */
export function nGram(options: NGramOptions = {}): Drafter {
  const { longest = 3, shortest = 1, prefer = 'latest' } = options;
  const whole = Number.isInteger(longest) && Number.isInteger(shortest);
  if (!whole || shortest < 1 || longest < shortest || longest > maxMatch) {
    throw new ArgumentError(
      `nGram: expected integers with 1 <= shortest <= longest <= ${maxMatch}, got ${shortest} and ${longest}.`,
    );
  }
  return {
    name: 'n-gram',
    needs: {},
    gives: { distribution: false },
    state: () => noState,
    prefill: () => undefined,
    propose(round) {
      const { width } = round;
      const capacity = round.history.shape[0]!;
      if (capacity >= 2 ** positionBits) {
        throw new ArgumentError(
          `nGram: a history may hold fewer than 2^${positionBits} tokens, got a capacity of ${capacity}.`,
        );
      }
      const operands: Operand[] = [round.history, round.loop];
      const [tokens, count] = round.length.graph.apply(nGramOperation, operands, { width, longest, shortest, prefer });
      return { width, depth: width - 1, chain: true, tokens: tokens!, count: count! };
    },
    absorb: () => undefined,
  };
}
