import { DTypeError } from '../../errors.ts';
import { elementCount } from '../../graph/dtype.ts';
import { expectDType, expectInteger, expectRank, expectShape } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { NdArray, Operand } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { grid } from '../../kernel/grid.ts';
import { expectVectorWeight } from '../layer-norm/vector-weight.ts';
import { convolutionReference, recordReference } from './short-convolution.reference.ts';
import { recordKernel, shortConvolutionKernels } from './short-convolution.wgsl.ts';

/** Inputs of a convolution by position: position p lies in row p mod `ringRows`. */
export interface ConvolutionRecord {
  /** `[C, D]` f32, C at least `ringRows`; rows behind the ring are not touched. */
  readonly inputs: State;
  /** Positions that are kept before the oldest is overwritten; at least the taps less one. */
  readonly ringRows: number;
}

/** Which rows of a sequence come in. */
export interface ConvolutionRows {
  /** `[1]` u32: tokens before them. */
  readonly length: Tensor;
  /** `[1]` u32: rows in use; the others are not recorded. */
  readonly count: Tensor;
}

interface ConvolutionAttributes {
  readonly ringRows: number;
}

type Operands = readonly [x: Tensor, weight: Weight, inputs: State, length: Tensor, count: Tensor, bias?: Weight];

/** Operands: x, weight, inputs, length, count, and bias if there is one. */
export const shortConvolutionOperation = defineOperation<ConvolutionAttributes>({
  name: 'short-convolution',
  writes: [2],
  infer(operands, { ringRows }) {
    const [x, weight, inputs, length, count, bias] = operands as Operands;
    expectRank('shortConvolution: x', x, 2);
    const [rows, width] = x.shape as readonly [number, number];
    expectShape('shortConvolution: x', x, [rows, width]);
    expectDType('shortConvolution: x', x, ['f32']);
    expectShape(`shortConvolution: weight "${weight.name}"`, weight, [width, 1, weight.width]);
    if (weight.format !== 'f32') {
      throw new DTypeError(
        `shortConvolution: weight "${weight.name}": expected format f32, got ${weight.format}; its few taps are kept in f32.`,
      );
    }
    expectInteger('shortConvolution: ringRows', ringRows, [Math.max(weight.width - 1, 1), inputs.shape[0]!]);
    expectShape(`shortConvolution: state "${inputs.name}"`, inputs, [inputs.shape[0]!, width]);
    expectDType(`shortConvolution: state "${inputs.name}"`, inputs, ['f32']);
    for (const [name, tensor] of Object.entries({ length, count })) {
      expectShape(`shortConvolution: ${name}`, tensor, [1]);
      expectDType(`shortConvolution: ${name}`, tensor, ['u32']);
    }
    if (bias) expectVectorWeight('shortConvolution: bias', bias, width);
    return [{ shape: x.shape, dtype: 'f32' }];
  },
  reference(operands, { ringRows }) {
    const [x, weight, inputs, length, count, bias] = operands as readonly [
      NdArray,
      NdArray,
      NdArray,
      NdArray,
      NdArray,
      NdArray?,
    ];
    const data = convolutionReference([x, weight, inputs, length, bias], ringRows);
    recordReference([x, inputs, length, count], ringRows);
    return [{ shape: x.shape, dtype: 'f32', data }];
  },
  lower(lowering, { operands, outputs, attributes: { ringRows } }) {
    const [x, weight, inputs, length, count, bias] = operands as Operands;
    const [rows, width] = x.shape as readonly [number, number];
    const elements = elementCount(x.shape);
    const w = lowering.weight(weight)[0]!;
    const b = bias && lowering.weight(bias)[0]!;
    const workgroups = grid(Math.ceil(elements / 64));
    const shared = { x: lowering.tensor(x), begin: lowering.tensor(length) };
    lowering.dispatch(shortConvolutionKernels[b ? 'biased' : 'plain'], {
      constants: { width, taps: weight.width, ringRows },
      uniforms: { rows, weightBegin: w.rowOffset * weight.width, biasBegin: b ? b.rowOffset * width : 0 },
      bindings: {
        ...shared,
        w: w.codes,
        record: lowering.state(inputs),
        y: lowering.tensor(outputs[0]!),
        ...(b ? { b: b.codes } : {}),
      } as Record<'x' | 'w' | 'record' | 'begin' | 'y' | 'b', (typeof w)['codes']>,
      workgroups,
      bytes: 4 * (2 * elements + width * (weight.width + weight.width - 1)),
      flops: 2 * elements * weight.width,
    });
    lowering.dispatch(recordKernel, {
      constants: { width, ringRows },
      uniforms: { rows },
      bindings: { ...shared, used: lowering.tensor(count), record: lowering.state(inputs) },
      workgroups,
      label: `record ${inputs.name}`,
      bytes: 8 * elements,
    });
  },
});

/**
 * Causal depthwise convolution with few taps over rows that follow each other: `y[m, d] = b[d] + sum over j < k of
 * w[d, 0, j] x[m - (k - 1) + j, d]`, inputs before the first row coming from the record, and zeros before the sequence; then the rows in
 * use are recorded at their positions, after which later rows may be taken back by saying a smaller length. f32, summed in the order
 * of positions, so that a row has the same bits however passes are cut.
 *
 * @param x `[M, D]` f32.
 * @param weight `[D, 1, k]` f32, as `Conv1d` stores it.
 * @param record what was recorded of earlier rows.
 * @param rows their place, and `bias`: `[D]` f32.
 * @returns `[M, D]` f32.
 * @throws ShapeError, DTypeError or ArgumentError for operands that do not fit.
 */
export function shortConvolution(
  x: Tensor,
  weight: Weight,
  record: ConvolutionRecord,
  rows: ConvolutionRows & { readonly bias?: Weight | undefined },
): Tensor {
  const operands: Operand[] = [x, weight, record.inputs, rows.length, rows.count];
  if (rows.bias) operands.push(rows.bias);
  return x.graph.apply(shortConvolutionOperation, operands, { ringRows: record.ringRows })[0]!;
}
