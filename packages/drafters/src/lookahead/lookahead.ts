import type { Drafter, DrafterState, Round, TargetOutputs, TokenTree } from '@forerun/contracts';
import { loopWords } from '@forerun/contracts';
import type { Operand, Tensor } from '@forerun/tensor';
import { ArgumentError, defineOperation, noToken, State, u32Array, u32Vectors } from '@forerun/tensor';
import { checkSizes, type LookaheadSizes, windowColumns, windowWidth, windowWords } from './lookahead-sizes.ts';
import { moveWindow, proposeLookahead } from './lookahead.reference.ts';
import {
  type LookaheadConstants,
  lookaheadAbsorbKernel,
  lookaheadTreeKernel,
  promptNGramsKernel,
} from './lookahead.wgsl.ts';
import { insertNGrams, poolShape } from './n-gram-pool.ts';

/** How far and how widely lookahead looks. */
export interface LookaheadOptions {
  /** Size of the target's vocabulary. */
  readonly vocabSize: number;
  /** W, columns of the window; 4 by default. */
  readonly window?: number;
  /** N, tokens of an n-gram; 4 by default. */
  readonly ngram?: number;
  /** G, n-grams that are kept for each token and verified in a round; 4 by default. */
  readonly guesses?: number;
  /** Tokens of an n-gram behind the first that are verified; all of them by default. */
  readonly verified?: number;
  /** Whether n-grams of the prompt and of what was generated go into the pool too; true by default. */
  readonly fromText?: boolean;
}

/** The state of {@link lookahead}. */
export interface LookaheadState extends DrafterState {
  /** `[(N - 1) * (W + N - 3) + 1]` u32: rows of the window, then how many of them there are; 0 before the first round. */
  readonly window: State;
  /** `[V, 1 + G * (N - 1)]` u32: for each token how many n-grams begin with it, then their other tokens, the least recently seen first. */
  readonly pool: State;
}

/** A drafter that finds its guesses by looking ahead. */
export interface LookaheadDrafter extends Drafter {
  /** Rows that a round needs for its window; in narrower ones only n-grams found before are verified. */
  readonly windowWidth: number;
  /** Declares window and pool of one conversation. */
  state(): LookaheadState;
}

type TreeAttributes = LookaheadSizes & Pick<LookaheadConstants, 'width' | 'tried' | 'looking'>;

/** Operands: window, pool, history, loop. Outputs: tokens, parents, depths `[width]`, rows in use and candidates `[1]`. */
const treeOperation = defineOperation<TreeAttributes>({
  name: 'lookahead-tree',
  writes: [0],
  infer: (_, { width }) => u32Vectors(width, width, width, 1, 1),
  reference([window, pool, history, loop], attributes) {
    const { rows, candidates } = proposeLookahead(
      {
        words: window!.data,
        pool: pool!.data,
        history: history!.data,
        anchor: loop!.data[loopWords.anchor]!,
        length: loop!.data[loopWords.length]!,
      },
      { ...attributes, vocabSize: pool!.shape[0]! },
    );
    const pad = (of: (row: (typeof rows)[number]) => number) =>
      u32Array(Array.from({ length: attributes.width }, (_, row) => (rows[row] ? of(rows[row]) : 0)));
    return [
      pad(({ token }) => token),
      pad(({ parent }) => parent),
      pad(({ depth }) => depth),
      u32Array([rows.length]),
      u32Array([candidates]),
    ];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const [looked, pool, history, loop] = operands as readonly [State, State, State, State];
    const [tokens, parents, depths, count, candidates] = outputs.map((output) => lowering.tensor(output));
    lowering.dispatch(lookaheadTreeKernel, {
      constants: { ...attributes, vocabSize: pool.shape[0]! },
      bindings: {
        looked: lowering.state(looked),
        pool: lowering.state(pool),
        history: lowering.state(history),
        loopState: lowering.state(loop),
        tokens: tokens!,
        parents: parents!,
        depths: depths!,
        count: count!,
        candidates: candidates!,
      },
      workgroups: [1, 1, 1],
    });
  },
});

/** Operands: window, tokens, best tokens, candidates, history, length before the round, kept. Output: `[E, N]` n-grams. */
const absorbOperation = defineOperation<TreeAttributes & { readonly kept: number }>({
  name: 'lookahead-absorb',
  writes: [0],
  infer: (_, { looking, window, ngram, kept }) => [{ shape: [(looking ? window : 0) + kept, ngram], dtype: 'u32' }],
  reference([window, tokens, topTokens, candidates, history, length, kept], attributes) {
    const { looking, ngram } = attributes;
    const entries = looking
      ? moveWindow(
          window!.data,
          { tokens: tokens!.data, topTokens: topTokens!.data, candidates: candidates!.data[0]! },
          attributes,
        )
      : [];
    for (let i = 0; i < attributes.kept; i++) {
      const end = length!.data[0]! + 2 + i;
      const there = i < kept!.data[0]! && end >= ngram;
      entries.push(Array.from({ length: ngram }, (_, at) => (there ? history!.data[end - ngram + at]! : noToken)));
    }
    return [u32Array(entries.flat(), [entries.length, ngram])];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const [looked, tokens, topTokens, candidates, history, length, kept] = operands as readonly [
      State,
      Tensor,
      Tensor,
      Tensor,
      State,
      Tensor,
      Tensor,
    ];
    lowering.dispatch(lookaheadAbsorbKernel, {
      constants: { ...attributes, vocabSize: 0, capacity: history.shape[0]! },
      bindings: {
        looked: lowering.state(looked),
        tokens: lowering.tensor(tokens),
        topTokens: lowering.tensor(topTokens),
        candidates: lowering.tensor(candidates),
        history: lowering.state(history),
        length: lowering.tensor(length),
        kept: lowering.tensor(kept),
        entries: lowering.tensor(outputs[0]!),
      },
      workgroups: [1, 1, 1],
    });
  },
});

/** Operands: history, loop, length before the chunk, tokens of the chunk. Output: `[E, N]` n-grams of the prompt. */
const promptOperation = defineOperation<{ readonly ngram: number; readonly entries: number }>({
  name: 'prompt-n-grams',
  infer: (_, { ngram, entries }) => [{ shape: [entries, ngram], dtype: 'u32' }],
  reference([history, loop, length, count], { ngram, entries }) {
    const [begin, end] = [length!.data[0]!, length!.data[0]! + count!.data[0]!];
    const first = Math.max(begin - (ngram - 1), 0);
    const rows = Array.from({ length: entries }, (_, entry) => {
      const at = first + entry;
      const there = at < end && at + ngram - 1 <= loop!.data[loopWords.prefillEnd]!;
      return Array.from({ length: ngram }, (_unused, i) => (there ? history!.data[at + i]! : noToken));
    });
    return [u32Array(rows.flat(), [entries, ngram])];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const [history, loop, length, count] = operands as readonly [State, State, Tensor, Tensor];
    lowering.dispatch(promptNGramsKernel, {
      constants: { ...attributes, capacity: history.shape[0]! },
      bindings: {
        history: lowering.state(history),
        loopState: lowering.state(loop),
        length: lowering.tensor(length),
        count: lowering.tensor(count),
        entries: lowering.tensor(outputs[0]!),
      },
      workgroups: [Math.ceil(attributes.entries / 64), 1, 1],
    });
  },
});

/**
 * Lookahead decoding: beside the drafts, a window of guessed tokens passes the target in the same rows, a Jacobi iteration on N - 1 levels.
 * What the target says behind its last level makes n-grams of its columns; they are kept in a pool by their first token and verified
 * when it comes to be the anchor. No weights, no training.
 *
 * Rows of a round: the anchor, the newest n-grams of the anchor as a trie (candidates), then the window, whose rows no verifier sees. A window
 * takes W * (N - 1) rows with the anchor; a narrower round verifies n-grams but does not look ahead. The first N - 2 rounds fill the window.
 *
 * Source: Fu et al. 2024, "Break the Sequential Dependency of LLM Inference Using Lookahead Decoding", arXiv:2402.02057. N-grams that begin
 * alike share rows here.
 * @throws {@link ArgumentError} for sizes that make no sense
 */
export function lookahead(options: LookaheadOptions): LookaheadDrafter {
  const { vocabSize, window = 4, ngram = 4, guesses = 4, verified = ngram - 1, fromText = true } = options;
  if (!Number.isInteger(vocabSize) || vocabSize < 1) {
    throw new ArgumentError(`lookahead: vocabSize is an integer of at least 1, got ${vocabSize}.`);
  }
  const sizes: LookaheadSizes = { window, ngram, guesses, verified };
  checkSizes(sizes);
  const needed = windowWidth(sizes);
  const attributesOf = (round: Round): TreeAttributes => {
    const branching = round.decoder?.branching !== false;
    // One n-gram is a chain, which is all that a decoder without trees can verify.
    return {
      ...sizes,
      width: round.width,
      tried: branching ? guesses : 1,
      looking: branching && round.width >= needed,
    };
  };

  return {
    name: 'lookahead',
    needs: { topTokens: 1 },
    gives: { distribution: false },
    windowWidth: needed,

    state() {
      const state = (name: string, shape: readonly number[]) =>
        new State({ name: `lookahead ${name}`, shape, dtype: 'u32' });
      const window = state('window', [windowWords(sizes)]);
      const pool = state('pool', poolShape(vocabSize, sizes));
      return { window, pool, states: [window, pool], truncate: () => undefined, reachable: (length) => length };
    },

    prefill(target: TargetOutputs, state: DrafterState, { history, loop }): void {
      if (!fromText) return;
      const { inputs, length, count } = target.rows;
      const attributes = { ngram, entries: inputs.shape[0]! + ngram - 1 };
      const operands: Operand[] = [history, loop, length, count];
      const [entries] = length.graph.apply(promptOperation, operands, attributes);
      insertNGrams((state as LookaheadState).pool, entries!, sizes);
    },

    propose(round: Round, state: DrafterState): TokenTree {
      const { window: looked, pool } = state as LookaheadState;
      const attributes = attributesOf(round);
      const { width, looking } = attributes;
      const operands: Operand[] = [looked, pool, round.history, round.loop];
      const [tokens, parents, depths, count, candidates] = round.length.graph.apply(
        treeOperation,
        operands,
        attributes,
      );
      const chain = round.decoder?.branching === false;
      return {
        width,
        depth: Math.min(chain ? width : Math.max(verified, looking ? windowColumns(sizes) : 0), width - 1),
        chain,
        tokens: tokens!,
        ...(chain ? {} : { parents: parents!, depths: depths! }),
        count: count!,
        candidates: candidates!,
      };
    },

    absorb(round, { tree, accepted, target }, state) {
      const attributes = { ...attributesOf(round), kept: fromText ? Math.min(verified + 1, round.width) : 0 };
      if (!attributes.looking && attributes.kept === 0) return;
      const { window: looked, pool } = state as LookaheadState;
      const [entries] = round.length.graph.apply(
        absorbOperation,
        [
          looked,
          tree.tokens,
          target.topTokens!,
          tree.candidates ?? tree.count,
          round.history,
          round.length,
          accepted.count,
        ],
        attributes,
      );
      insertNGrams(pool, entries!, sizes);
    },
  };
}
