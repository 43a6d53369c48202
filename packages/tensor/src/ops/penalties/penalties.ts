import { ShapeError } from '../../errors.ts';
import { shapeText } from '../../graph/dtype.ts';
import type { Operand } from '../../graph/operation.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { clearCountsKernel, countTokensKernel } from './penalties.wgsl.ts';

/** Which entries of a history are counted. Each tensor is `[1]` u32. */
export interface CountedRange {
  /** `[capacity]` u32: tokens of the context in order. */
  readonly history: State;
  /** One past the last entry. */
  readonly to: Tensor;
  /** Entries from here on count as generated. */
  readonly generatedFrom: Tensor;
}

interface CountAttributes {
  /** Most entries counted; undefined: as many as the host's bound on the context. */
  readonly most: number | undefined;
}

const countOperation = defineOperation<CountAttributes>({
  name: 'count-tokens',
  infer: () => [],
  writes: [4],
  reference([history, from, to, generatedFrom, counts]) {
    const vocabSize = counts!.shape[1]!;
    for (let i = from!.data[0]!; i < Math.min(to!.data[0]!, history!.data.length); i++) {
      const token = history!.data[i]!;
      if (token >= vocabSize) continue;
      counts!.data[token]! += 1;
      if (i >= generatedFrom!.data[0]!) counts!.data[vocabSize + token]! += 1;
    }
    return [];
  },
  lower(lowering, { operands, attributes: { most } }) {
    const [history, from, to, generatedFrom, counts] = operands as [State, Tensor, Tensor, Tensor, State];
    const capacity = history.shape[0]!;
    lowering.dispatch(countTokensKernel, {
      constants: { vocabSize: counts.shape[1]!, capacity },
      bindings: {
        history: lowering.state(history),
        begin: lowering.tensor(from),
        end: lowering.tensor(to),
        generatedFrom: lowering.tensor(generatedFrom),
        counts: lowering.state(counts),
      },
      workgroups:
        most === undefined ? (bound) => grid(Math.ceil(Math.min(bound, capacity) / 64)) : grid(Math.ceil(most / 64)),
    });
  },
});

const clearOperation = defineOperation({
  name: 'clear-counts',
  infer: () => [],
  writes: [0],
  reference([counts]) {
    counts!.data.fill(0);
    return [];
  },
  lower(lowering, { operands }) {
    const count = 2 * (operands[0] as State).shape[1]!;
    lowering.dispatch(clearCountsKernel, {
      constants: { count },
      bindings: { counts: lowering.state(operands[0]!) },
      workgroups: [Math.ceil(count / 256), 1, 1],
      bytes: count * 4,
    });
  },
});

function check(name: string, counts: State, range: CountedRange & { from?: Tensor }): void {
  if (counts.dtype !== 'u32' || counts.shape.length !== 2 || counts.shape[0] !== 2) {
    throw new ShapeError(`${name}: counts must be a u32 state [2, V], got ${counts.dtype} ${shapeText(counts.shape)}.`);
  }
  if (range.history.dtype !== 'u32' || range.history.shape.length !== 1) {
    throw new ShapeError(
      `${name}: history must be a u32 state [capacity], got ${range.history.dtype} ${shapeText(range.history.shape)}.`,
    );
  }
  for (const key of ['from', 'to', 'generatedFrom'] as const) {
    const tensor = range[key];
    if (tensor && (tensor.dtype !== 'u32' || tensor.shape.length !== 1 || tensor.shape[0] !== 1)) {
      throw new ShapeError(`${name}: ${key} must be a u32 tensor [1], got ${tensor.dtype} ${shapeText(tensor.shape)}.`);
    }
  }
}

/**
 * Adds entries `from ..< to` of a history to how often each token occurs: row 0 of `counts` counts the whole context, row 1 what
 * was generated. Entries that are no token of the vocabulary are passed over.
 *
 * @param counts `[2, V]` u32
 * @param range.from `[1]` u32: first entry
 * @param range.most upper bound of `to - from`, known when the program is traced; entries beyond it are not counted
 */
export function countTokens(
  counts: State,
  range: CountedRange & { readonly from: Tensor; readonly most: number },
): void {
  check('countTokens', counts, range);
  const operands: Operand[] = [range.history, range.from, range.to, range.generatedFrom, counts];
  range.to.graph.apply(countOperation, operands, { most: range.most });
}

/**
 * Counts entries `0 ..< to` of a history anew, after tokens were taken back or a context was loaded. The host's bound on the context's
 * length must be at least `to`.
 *
 * @param counts `[2, V]` u32
 */
export function recountTokens(counts: State, range: CountedRange): void {
  check('recountTokens', counts, range);
  const { graph } = range.to;
  graph.apply(clearOperation, [counts], {});
  const zero = graph.constant(new Uint32Array([0]));
  graph.apply(countOperation, [range.history, zero, range.to, range.generatedFrom, counts], { most: undefined });
}
