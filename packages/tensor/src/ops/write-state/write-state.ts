import { elementCount } from '../../graph/dtype.ts';
import { expectDType, expectInteger } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { copyBlocks } from '../slice/copy-blocks.wgsl.ts';

/** Overwrites elements of a state from a fixed element on; operands `[state, value]`. */
export const writeStateOperation = defineOperation<{ readonly offset: number }>({
  name: 'write-state',
  writes: [0],
  infer(operands, { offset }) {
    const [state, value] = operands as readonly [State, Tensor];
    const room = elementCount(state.shape) - elementCount(value.shape);
    expectDType(`writeState of "${state.name}": value`, value, [state.dtype]);
    expectInteger(`writeState of "${state.name}": value's elements`, elementCount(value.shape), [
      1,
      elementCount(state.shape),
    ]);
    expectInteger(`writeState of "${state.name}": offset`, offset, [0, room]);
    return [];
  },
  reference([state, value], { offset }) {
    state!.data.set(value!.data, offset);
    return [];
  },
  lower(lowering, { operands, attributes: { offset } }) {
    const [state, value] = operands as readonly [State, Tensor];
    copyBlocks(lowering, {
      from: lowering.tensor(value),
      to: lowering.state(state),
      blocks: 1,
      span: elementCount(value.shape),
      fromStride: 0,
      toBegin: offset,
      toStride: 0,
      label: `write ${state.name}`,
    });
  },
});

/**
 * Overwrites elements `offset ..< offset + N` of a state, in row-major order.
 *
 * @param state any shape and dtype.
 * @param value N elements in any shape, of the state's dtype.
 * @throws DTypeError for another dtype; ArgumentError where the value passes the state's end.
 */
export function writeState(state: State, value: Tensor, offset = 0): void {
  value.graph.apply(writeStateOperation, [state, value], { offset });
}
