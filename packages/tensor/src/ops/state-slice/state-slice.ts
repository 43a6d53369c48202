import { elementCount } from '../../graph/dtype.ts';
import { expectInteger } from '../../graph/expect.ts';
import type { Graph } from '../../graph/graph.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { copyBlocks } from '../slice/copy-blocks.wgsl.ts';

/** Attributes of the operation `state-slice`. */
export interface StateSliceAttributes {
  readonly begin: number;
  readonly shape: readonly number[];
  /** Whether the output may be another name for the state's bytes; set by the compiler where nothing writes them too early. */
  readonly alias: boolean;
}

/** Elements of a state, as they are where this stands in the trace. */
export const stateSliceOperation = defineOperation<StateSliceAttributes>({
  name: 'state-slice',
  infer(operands, { begin, shape }) {
    const [state] = operands as readonly [State];
    const size = elementCount(state.shape);
    expectInteger(`readState of "${state.name}": begin`, begin, [0, size - 1]);
    expectInteger(`readState of "${state.name}": end`, begin + elementCount(shape), [begin + 1, size]);
    return [{ shape, dtype: state.dtype }];
  },
  reference([state], { begin, shape }) {
    return [{ shape, dtype: state!.dtype, data: state!.data.slice(begin, begin + elementCount(shape)) }];
  },
  lower(lowering, { operands, outputs, attributes: { begin, shape, alias } }) {
    const view = lowering.state(operands[0]!);
    if (alias) {
      lowering.alias(outputs[0]!, { source: view.source, offsetBytes: begin * 4 });
      return;
    }
    const span = elementCount(shape);
    copyBlocks(lowering, {
      from: view,
      to: lowering.tensor(outputs[0]!),
      blocks: 1,
      span,
      fromBegin: begin,
      fromStride: 0,
      toStride: 0,
      label: `read ${(operands[0] as State).name}`,
    });
  },
});

/**
 * Elements of a state as they are at this point of the trace: writes traced later do not show. Costs nothing where the first
 * element lies at a multiple of 64 and every reader comes before the next write of the state; else it is a copy.
 *
 * @param graph the program that is being traced.
 * @param range elements `begin ..< end` in row-major order; without, all of them.
 * @returns `[end - begin]`, or the state's shape, of its dtype.
 * @throws ArgumentError for a range that is empty or passes the end.
 */
export function readState(graph: Graph, state: State, range?: readonly [begin: number, end: number]): Tensor {
  const begin = range?.[0] ?? 0;
  const shape = range ? [range[1] - range[0]] : state.shape;
  return graph.apply(stateSliceOperation, [state], { begin, shape, alias: false })[0]!;
}
