import { elementCount } from '../../graph/dtype.ts';
import { expectDType, expectRank, expectShape } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { copyRowsKernels } from './copy-rows.wgsl.ts';

/** Moves rows inside a state; operands `[state, from, to, count]`. */
export const copyRowsOperation = defineOperation({
  name: 'copy-rows',
  writes: [0],
  infer(operands) {
    const [state, from, to, count] = operands as readonly [State, Tensor, Tensor, Tensor];
    expectRank(`copyRows: state "${state.name}"`, state, 1);
    expectRank('copyRows: from', from, 1);
    expectDType('copyRows: from', from, ['u32']);
    expectDType('copyRows: to', to, ['u32']);
    expectDType('copyRows: count', count, ['u32']);
    expectShape('copyRows: from', from, [elementCount(from.shape)]);
    expectShape('copyRows: to', to, from.shape);
    expectShape('copyRows: count', count, [1]);
    return [];
  },
  reference([state, from, to, count]) {
    const capacity = state!.shape[0]!;
    const width = elementCount(state!.shape.slice(1));
    for (let m = 0; m < Math.min(count!.data[0]!, from!.data.length); m++) {
      const [source, target] = [from!.data[m]!, to!.data[m]!];
      if (source < capacity && target < capacity) {
        state!.data.copyWithin(target * width, source * width, (source + 1) * width);
      }
    }
    return [];
  },
  lower(lowering, { operands }) {
    const [state, from, to, count] = operands as readonly [State, Tensor, Tensor, Tensor];
    const width = elementCount(state.shape.slice(1));
    const words = width % 4 === 0 ? 4 : 1;
    const rows = elementCount(from.shape);
    lowering.dispatch(copyRowsKernels[words], {
      constants: {},
      uniforms: { rows, width: width / words, capacity: state.shape[0]! },
      bindings: {
        sources: lowering.tensor(from),
        targets: lowering.tensor(to),
        used: lowering.tensor(count),
        state: lowering.state(state),
      },
      workgroups: grid(Math.ceil(width / words / 64)),
      label: `compact ${state.name}`,
      bytes: 8 * rows * width,
    });
  },
});

/**
 * Moves rows inside a state: `state[to[m]] = state[from[m]]` for m < count, in one dispatch. Both lists must ascend strictly with
 * `from[m] >= to[m]`, as they do where the accepted rows of a tree close up, or have no row in common; then no row is overwritten
 * before it is read.
 * Rows past the state's end are skipped.
 *
 * @param state `[C, D...]` of any dtype.
 * @param from `[M]` u32: rows that are read.
 * @param to `[M]` u32: rows that are written.
 * @param count `[1]` u32: entries of the lists in use.
 * @throws ShapeError or DTypeError for operands that do not fit.
 */
export function copyRows(state: State, from: Tensor, to: Tensor, count: Tensor): void {
  from.graph.apply(copyRowsOperation, [state, from, to, count], {});
}
