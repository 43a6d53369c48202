import type { Drafter, DrafterState } from '@forerun/contracts';
import type { Operand } from '@forerun/tensor';
import { ArgumentError, defineOperation, maxTopK, noToken, State, type Tensor, u32Array } from '@forerun/tensor';
import { chainShape, maxTreeWidth, type TreeShape } from '../trees/tree-shape.ts';
import { recyclingShape, typicalAcceptance } from './recycling-shape.ts';
import { recyclingTreeKernel, recyclingUpdateKernel } from './recycling.wgsl.ts';

/** How candidates are kept and made into a tree. */
export interface TokenRecyclingOptions {
  /** Size of the target's vocabulary: rows of the matrix. */
  readonly vocabSize: number;
  /** Candidates that are kept for each token; 8 by default, as published. */
  readonly candidates?: number;
  /**
   * Tree of a round of `width` rows; by default that of the most likely nodes under typical chances by rank. Its ranks are below
   * `candidates`, and it has at most `width` rows.
   */
  readonly tree?: (width: number) => TreeShape;
}

/** The state of {@link tokenRecycling}. */
export interface TokenRecyclingState extends DrafterState {
  /** `[V, k]` u32: best tokens of the last row that held each token, best first; 0xffffffff where it was not seen yet. */
  readonly matrix: State;
}

/** A drafter that recycles the target's candidates. */
export interface TokenRecyclingDrafter extends Drafter {
  /** Declares the matrix of one conversation. */
  state(): TokenRecyclingState;
}

interface TreeAttributes {
  readonly parents: readonly number[];
  readonly ranks: readonly number[];
  readonly depths: readonly number[];
}

const treeOperation = defineOperation<TreeAttributes>({
  name: 'recycling-tree',
  infer: (_, { parents }) => [{ shape: [parents.length], dtype: 'u32' }],
  reference([matrix, anchor], { parents, ranks, depths }) {
    const [vocabSize, k] = matrix!.shape as [number, number];
    const tokens = new Float64Array(parents.length);
    tokens[0] = anchor!.data[0]!;
    for (let row = 1; row < parents.length && depths[row]! > 0; row++) {
      const above = tokens[parents[row]!]!;
      tokens[row] = above < vocabSize ? matrix!.data[above * k + ranks[row]!]! : noToken;
    }
    return [u32Array(tokens)];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const [matrix, anchor] = operands as readonly [State, Tensor];
    const [vocabSize, candidates] = matrix.shape as [number, number];
    lowering.dispatch(recyclingTreeKernel, {
      constants: { ...attributes, vocabSize, candidates },
      bindings: {
        matrix: lowering.state(matrix),
        anchor: lowering.tensor(anchor),
        tokens: lowering.tensor(outputs[0]!),
      },
      workgroups: [1, 1, 1],
    });
  },
});

/** Order of operands: matrix, tokens `[M]`, their best tokens `[M, k]`, rows in use `[1]`. */
const updateOperation = defineOperation<object>({
  name: 'recycling-update',
  writes: [0],
  infer: () => [],
  reference([matrix, tokens, topTokens, count]) {
    const [vocabSize, k] = matrix!.shape as [number, number];
    for (let row = 0; row < Math.min(count!.data[0]!, tokens!.data.length); row++) {
      const token = tokens!.data[row]!;
      if (token < vocabSize) matrix!.data.set(topTokens!.data.subarray(row * k, (row + 1) * k), token * k);
    }
    return [];
  },
  lower(lowering, { operands }) {
    const [matrix, tokens, topTokens, count] = operands as readonly [State, Tensor, Tensor, Tensor];
    const [vocabSize, candidates] = matrix.shape as [number, number];
    lowering.dispatch(recyclingUpdateKernel, {
      constants: { width: tokens.shape[0]!, vocabSize, candidates },
      bindings: {
        matrix: lowering.state(matrix),
        tokens: lowering.tensor(tokens),
        topTokens: lowering.tensor(topTokens),
        count: lowering.tensor(count),
      },
      workgroups: [1, 1, 1],
    });
  },
});

/**
 * Token recycling: a matrix holds, for every token, the target's best tokens behind it as they were the last time that it passed the
 * target, in a row that was kept or in one that was not. A static tree is filled from it breadth-first: the node of rank j under a token t
 * is entry (t, j). No weights and no training; what the target computes anyway is used again.
 *
 * The matrix takes `V * k * 4` bytes of a conversation and starts empty, so that the first rounds guess nothing that can be accepted.
 * Rows of the prompt make no logits and therefore no entries, as published. Decoders that verify chains only get the best candidates one behind
 * the other.
 *
 * Source: Luo et al. 2024, "Turning Trash into Treasure: Accelerating Inference of Large Language Models with Token Recycling",
 * arXiv:2408.08696.
 * @throws {@link ArgumentError} for sizes that are no positive integers, and for a tree that does not fit
 */
export function tokenRecycling(options: TokenRecyclingOptions): TokenRecyclingDrafter {
  const { vocabSize } = options;
  const wanted = options.candidates ?? typicalAcceptance.length;
  if (!Number.isInteger(vocabSize) || vocabSize < 1) {
    throw new ArgumentError(`tokenRecycling: vocabSize is an integer of at least 1, got ${vocabSize}.`);
  }
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > maxTopK) {
    throw new ArgumentError(`tokenRecycling: candidates is an integer from 1 to ${maxTopK}, got ${wanted}.`);
  }
  const candidates = Math.min(wanted, vocabSize);
  const { tree = (width: number) => recyclingShape(width, typicalAcceptance.slice(0, candidates)) } = options;

  const shapeOf = (width: number): TreeShape => {
    const shape = tree(width);
    if (shape.width > Math.min(width, maxTreeWidth) || shape.ranks > candidates) {
      throw new ArgumentError(
        `tokenRecycling: a round of ${width} rows with ${candidates} candidates a token got a tree of ${shape.width} rows and ${shape.ranks} ranks.`,
      );
    }
    return shape;
  };

  return {
    name: 'token-recycling',
    needs: { topTokens: candidates },
    gives: { distribution: false },
    state() {
      const matrix = new State({
        name: 'recycled candidates',
        shape: [vocabSize, candidates],
        dtype: 'u32',
        init: { fill: noToken },
      });
      return { matrix, states: [matrix], truncate: () => undefined, reachable: (length) => length };
    },
    prefill: () => undefined,
    propose(round, state) {
      const { width, anchor } = round;
      const shape = round.decoder?.branching === false ? chainShape(width) : shapeOf(width);
      const { depth } = shape;
      const padding = Array.from({ length: width - shape.width }, () => 0);
      const parents = [...shape.parents, ...padding];
      const depths = [...shape.depths, ...padding];
      const ranks = [0, ...shape.paths.map((path) => path.at(-1)!), ...padding];
      const operands: Operand[] = [(state as TokenRecyclingState).matrix, anchor];
      const [tokens] = anchor.graph.apply(treeOperation, operands, { parents, depths, ranks });
      const column = (values: readonly number[]) => anchor.graph.constant(Uint32Array.from(values));
      const chain = width === depth + 1;
      return {
        width,
        depth,
        chain,
        tokens: tokens!,
        ...(chain ? {} : { parents: column(parents), depths: column(depths) }),
        count: column([shape.width]),
      };
    },
    absorb(_round, { tree: verified, target }, state) {
      const { tokens, count } = verified;
      const { matrix } = state as TokenRecyclingState;
      tokens.graph.apply(updateOperation, [matrix, tokens, target.topTokens!, count], {});
    },
  };
}
