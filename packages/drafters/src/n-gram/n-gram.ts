import type { Drafter } from '@forerun/contracts';
import { loopWords, noState } from '@forerun/contracts';
import type { Operand, State } from '@forerun/tensor';
import { ArgumentError, defineOperation, u32Array, u32Vectors } from '@forerun/tensor';
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
  /** Continuations are taken from the first this many tokens of the history only; from all of them by default. */
  readonly before?: number;
  /** A proposal ends before these tokens. */
  readonly endTokens?: readonly number[];
  /** Tokens that are never proposed: a proposal ends before them, and a match that would begin with one is passed over. */
  readonly forbidden?: readonly number[];
  /**
   * n: a proposal never completes n tokens that the context has already, one behind the other, as transformers' `no_repeat_ngram_size`
   * forbids. It ends before that, and a match that would begin so is passed over. Off by default.
   */
  readonly noRepeat?: number;
}

/** Most tokens of a match. */
const maxMatch = 255;

/** Most tokens of a list that proposals end before. */
const maxListed = 64;

interface NGramAttributes extends Required<NGramOptions> {
  readonly width: number;
}

/** Whether the token at `index` of the continuation at `begin` is one that is never proposed there. */
function isForbidden(
  kept: readonly number[],
  { begin, index, forbidden, noRepeat: n }: NGramAttributes & { begin: number; index: number },
): boolean {
  const token = kept[begin + index]!;
  if (forbidden.includes(token)) return true;
  if (n === 0) return false;
  const sequence = [...kept, ...kept.slice(begin, begin + index)];
  const last = [...sequence.slice(sequence.length - n + 1), token];
  return (
    sequence.length + 1 >= n &&
    sequence.some((_, at) => at + n <= sequence.length && last.every((one, i) => sequence[at + i] === one))
  );
}

const nGramOperation = defineOperation<NGramAttributes>({
  name: 'n-gram',
  infer: (_, { width }) => u32Vectors(width, 1),
  reference([history, loop], attributes) {
    const { width, longest, shortest, prefer, before, endTokens } = attributes;
    const kept = Array.from(history!.data.subarray(0, loop!.data[loopWords.length]! + 1));
    const tokens = new Float64Array(width);
    tokens[0] = kept.at(-1)!;
    let drafts: number[] = [];
    const most = prefer === 'longest' ? maxMatch : longest;
    for (let n = Math.min(most, kept.length - 1); n >= shortest; n--) {
      const suffix = kept.slice(-n);
      const begins = [...kept.keys()].filter(
        (begin) =>
          begin + n < Math.min(kept.length, before) &&
          suffix.every((token, i) => kept[begin + i] === token) &&
          !isForbidden(kept, { ...attributes, begin: begin + n, index: 0 }),
      );
      const begin = prefer === 'earliest' ? begins[0] : begins.at(-1);
      if (begin === undefined) continue;
      const continued = kept.slice(begin + n, Math.min(begin + n + width - 1, before));
      const end = continued.findIndex(
        (token, index) => endTokens.includes(token) || isForbidden(kept, { ...attributes, begin: begin + n, index }),
      );
      drafts = end < 0 ? continued : continued.slice(0, end);
      break;
    }
    tokens.set(drafts, 1);
    return [u32Array(tokens), u32Array([drafts.length + 1])];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const [history, loop] = operands as readonly [State, State];
    const capacity = history.shape[0]!;
    lowering.dispatch(nGramKernel, {
      constants: {
        ...attributes,
        capacity,
        longest: attributes.prefer === 'longest' ? maxMatch : attributes.longest,
      },
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
 * @throws {@link ArgumentError} for lengths that are not 1 <= shortest <= longest <= 255, other numbers that make no sense, or a history
 *   above 2^24 tokens
 */
export function nGram(options: NGramOptions = {}): Drafter {
  const { longest = 3, shortest = 1, prefer = 'latest' } = options;
  const { before = 2 ** positionBits, endTokens = [], forbidden = [], noRepeat = 0 } = options;
  const whole = Number.isInteger(longest) && Number.isInteger(shortest);
  if (!whole || shortest < 1 || longest < shortest || longest > maxMatch) {
    throw new ArgumentError(
      `nGram: expected integers with 1 <= shortest <= longest <= ${maxMatch}, got ${shortest} and ${longest}.`,
    );
  }
  const isCount = (value: number) => Number.isInteger(value) && value >= 0 && value <= 2 ** positionBits;
  if (!isCount(before) || !isCount(noRepeat)) {
    throw new ArgumentError(`nGram: before and noRepeat are whole numbers, got ${before} and ${noRepeat}.`);
  }
  const listed = [...endTokens, ...forbidden];
  if (listed.length > maxListed || listed.some((token) => !Number.isInteger(token) || token < 0 || token >= 2 ** 32)) {
    throw new ArgumentError(`nGram: expected at most ${maxListed} token ids, got [${listed.join(', ')}].`);
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
      const [tokens, count] = round.length.graph.apply(nGramOperation, operands, {
        width,
        longest,
        shortest,
        prefer,
        before,
        endTokens,
        forbidden,
        noRepeat,
      });
      return { width, depth: width - 1, chain: true, tokens: tokens!, count: count! };
    },
    absorb: () => undefined,
  };
}
