import { ShapeError } from '../../errors.ts';
import { elementCount, shapeText } from '../../graph/dtype.ts';
import { expectDType, expectRank, expectShape } from '../../graph/expect.ts';
import type { NdArray, Operand } from '../../graph/operation.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { packHalves } from '../append/half.ts';
import { writeRowsKernels, writeRowsPackedKernels } from './write-rows.wgsl.ts';

/** Where rows go. */
export interface WriteRowsOptions {
  /** `[M]` u32: row of the state that each row is written to; those past its end are skipped. No two used rows share one. */
  readonly slots: Tensor;
  /** `[1]` u32: rows from here on are not written. */
  readonly count?: Tensor;
}

const widthOf = (value: { readonly shape: readonly number[] }) => elementCount(value.shape.slice(1));

function checkOperands(what: string, operands: readonly Operand[], stateWidth: (rowWidth: number) => number): void {
  const [state, rows, slots, count] = operands as readonly [State, Tensor, Tensor, Tensor?];
  expectRank(`${what}: state "${state.name}"`, state, 1);
  expectRank(`${what}: rows`, rows, 1);
  expectDType(`${what}: slots`, slots, ['u32']);
  expectShape(`${what}: slots`, slots, [rows.shape[0]!]);
  if (widthOf(state) !== stateWidth(widthOf(rows))) {
    throw new ShapeError(
      `${what}: rows ${shapeText(rows.shape)} need ${stateWidth(widthOf(rows))} elements a row of state "${state.name}", whose shape is ${shapeText(state.shape)}.`,
    );
  }
  if (!count) return;
  expectDType(`${what}: count`, count, ['u32']);
  expectShape(`${what}: count`, count, [1]);
}

/** Calls `write` for each row that is to be written, in order. */
function eachWritten(operands: readonly NdArray[], write: (row: number, slot: number) => void): void {
  const [state, , slots, count] = operands as readonly [NdArray, NdArray, NdArray, NdArray?];
  slots.data.forEach((slot, row) => {
    if (slot < state.shape[0]! && row < (count?.data[0] ?? Infinity)) write(row, slot);
  });
}

/** Writes rows of a state at slots that live on the device; operands `[state, rows, slots]` or `[state, rows, slots, count]`. */
export const writeRowsOperation = defineOperation({
  name: 'write-rows',
  writes: [0],
  infer(operands) {
    const [state, rows] = operands as readonly [State, Tensor];
    checkOperands('writeRows', operands, (width) => width);
    expectDType('writeRows: rows', rows, [state.dtype]);
    return [];
  },
  reference(operands) {
    const [state, rows] = operands as readonly [NdArray, NdArray];
    const width = widthOf(state);
    eachWritten(operands, (row, slot) =>
      state.data.set(rows.data.subarray(row * width, (row + 1) * width), slot * width),
    );
    return [];
  },
  lower(lowering, { operands }) {
    const [state, rows, slots, used] = operands as readonly [State, Tensor, Tensor, Tensor?];
    const width = widthOf(state);
    const words = width % 4 === 0 ? 4 : 1;
    const count = elementCount(rows.shape) / words;
    const bindings = { rows: lowering.tensor(rows), slots: lowering.tensor(slots), state: lowering.state(state) };
    const request = {
      constants: {},
      uniforms: { count, width: width / words, capacity: state.shape[0]! },
      workgroups: grid(Math.ceil(count / 64)),
      label: `write ${state.name}`,
      bytes: 8 * elementCount(rows.shape),
    };
    if (used)
      lowering.dispatch(writeRowsKernels[words].counted, {
        ...request,
        bindings: { ...bindings, used: lowering.tensor(used) },
      });
    else lowering.dispatch(writeRowsKernels[words].all, { ...request, bindings });
  },
});

/** As {@link writeRowsOperation}, packing f32 pairs into the words of a u32 state. */
export const writeRowsPackedOperation = defineOperation({
  name: 'write-rows-packed',
  writes: [0],
  infer(operands) {
    const [state, rows] = operands as readonly [State, Tensor];
    checkOperands('writeRowsPacked', operands, (width) => Math.ceil(width / 2));
    expectDType(`writeRowsPacked: state "${state.name}"`, state, ['u32']);
    expectDType('writeRowsPacked: rows', rows, ['f32']);
    return [];
  },
  reference(operands) {
    const [state, rows] = operands as readonly [NdArray, NdArray];
    const [width, words] = [widthOf(rows), widthOf(state)];
    eachWritten(operands, (row, slot) => {
      for (let word = 0; word < words; word++) {
        const at = row * width + 2 * word;
        state.data[slot * words + word] = packHalves(rows.data[at]!, 2 * word + 1 < width ? rows.data[at + 1]! : 0);
      }
    });
    return [];
  },
  lower(lowering, { operands }) {
    const [state, rows, slots, used] = operands as readonly [State, Tensor, Tensor, Tensor?];
    const width = widthOf(state);
    const count = rows.shape[0]! * width;
    const bindings = { rows: lowering.tensor(rows), slots: lowering.tensor(slots), state: lowering.state(state) };
    const request = {
      constants: {},
      uniforms: { count, width, capacity: state.shape[0]!, rowElements: widthOf(rows) },
      workgroups: grid(Math.ceil(count / 64)),
      label: `write ${state.name}`,
      bytes: 4 * (elementCount(rows.shape) + count),
    };
    if (used)
      lowering.dispatch(writeRowsPackedKernels.counted, {
        ...request,
        bindings: { ...bindings, used: lowering.tensor(used) },
      });
    else lowering.dispatch(writeRowsPackedKernels.all, { ...request, bindings });
  },
});

const operandsOf = (state: State, rows: Tensor, { slots, count }: WriteRowsOptions): readonly Operand[] =>
  count ? [state, rows, slots, count] : [state, rows, slots];

/**
 * Writes rows of a state at positions that live on the device: `state[slots[m]] = rows[m]` for m < count.
 *
 * @param state `[C, D...]` of any dtype.
 * @param rows `[M, D...]` of the state's dtype; rows may be shaped otherwise if they have as many elements.
 * @throws ShapeError or DTypeError for operands that do not fit.
 */
export function writeRows(state: State, rows: Tensor, options: WriteRowsOptions): void {
  rows.graph.apply(writeRowsOperation, operandsOf(state, rows, options), {});
}

/**
 * As {@link writeRows} for a cache in f16: each pair of elements becomes one word, the first in its low half, rounded to nearest,
 * ties to even. Finite numbers past 65,504 become 65,504; infinities and NaN become NaN.
 *
 * @param state `[C, ceil(D / 2)]` u32.
 * @param rows `[M, D...]` f32; an odd D is padded with 0.
 * @throws ShapeError or DTypeError for operands that do not fit.
 */
export function writeRowsPacked(state: State, rows: Tensor, options: WriteRowsOptions): void {
  rows.graph.apply(writeRowsPackedOperation, operandsOf(state, rows, options), {});
}
