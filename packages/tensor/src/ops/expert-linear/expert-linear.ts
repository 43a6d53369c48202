import type { Lowering, WeightPart } from '../../compile/lowering.ts';
import { ArgumentError, DeviceLimitError, ShapeError } from '../../errors.ts';
import { elementCount, sameShape, shapeText } from '../../graph/dtype.ts';
import { expectDType, expectRank, expectShape } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { NdArray } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { type Weight, weightBytes } from '../../graph/weight.ts';
import { grid } from '../../kernel/grid.ts';
import { matvecLanes } from '../linear/linear-choice.ts';
import { type ExpertConstants, expertKernel, expertSumKernel, outputsPerWorkgroup } from './expert-linear.wgsl.ts';

interface ExpertAttributes {
  /** Whether a row's experts are weighed and summed. */
  readonly summed: boolean;
  /** Lanes along K, which fix the order of sums; the device's by default. */
  readonly lanes?: number;
}

type Operands<Value, Matrix> = readonly [x: Value, ids: Value, ...rest: (Value | Matrix)[]];

/** Splits operands `[x, ids, (weights), experts…]`. */
function parts<Value, Matrix>(operands: Operands<Value, Matrix>, { summed }: ExpertAttributes) {
  const [x, ids, ...rest] = operands;
  return {
    x,
    ids,
    weights: summed ? (rest[0] as Value) : undefined,
    experts: rest.slice(summed ? 1 : 0) as readonly Matrix[],
  };
}

/** Operands: x, ids, the weights of a sum, and the experts' matrices in order. */
export const expertLinearOperation = defineOperation<ExpertAttributes>({
  name: 'expert-linear',
  infer(operands, attributes) {
    const { x, ids, experts } = parts(operands as Operands<Tensor, Weight>, attributes);
    const [M, J] = ids.shape as readonly [number, number];
    const N = experts[0]!.rows;
    return [{ shape: attributes.summed ? [M, N] : [M, J, N], dtype: x.dtype }];
  },
  reference(operands, attributes) {
    const { x, ids, weights, experts } = parts(operands as Operands<NdArray, NdArray>, attributes);
    const [M, J] = ids.shape as readonly [number, number];
    const [N, K] = experts[0]!.shape as readonly [number, number];
    const own = x.shape.length === 3;
    const data = new Float64Array(M * N * (weights ? 1 : J));
    ids.data.forEach((id, item) => {
      const matrix = experts[id]?.data;
      if (!matrix) return;
      const input = (own ? item : Math.floor(item / J)) * K;
      for (let n = 0; n < N; n++) {
        let sum = 0;
        for (let k = 0; k < K; k++) sum += matrix[n * K + k]! * x.data[input + k]!;
        if (weights) data[Math.floor(item / J) * N + n]! += weights.data[item]! * sum;
        else data[item * N + n] = sum;
      }
    });
    return [{ shape: weights ? [M, N] : [M, J, N], dtype: 'f32', data }];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const { x, ids, weights, experts } = parts(operands as Operands<Tensor, Weight>, attributes);
    const [M, J] = ids.shape as readonly [number, number];
    const { format, width, rows: outputsPerExpert } = experts[0]!;
    const { kind } = lowering.device.adapter;
    const lanes = attributes.lanes ?? matvecLanes(kind, format, width);
    const cut = { lanes, workgroup: kind === 'software' && lanes === 1 ? 32 : 128 };
    const items = weights ? M : M * J;
    const tiles = Math.ceil(outputsPerExpert / outputsPerWorkgroup(cut));
    const { codes, scales } = weightBytes(format, outputsPerExpert, width);
    // A part adds to what the parts before it left, so the last one alone is counted with everything.
    for (const [index, { first, end, part }] of placed(lowering, experts).entries()) {
      const constants: ExpertConstants = {
        format,
        width,
        outputs: outputsPerExpert,
        perRow: J,
        experts: experts.length,
        first,
        end,
        rowOffset: part.rowOffset,
        inputPerExpert: x.shape.length === 3,
        ...cut,
      };
      const kernel = weights
        ? expertSumKernel(format, width, index === 0 ? 'first' : 'further')
        : expertKernel(format, width);
      lowering.dispatch(kernel, {
        constants,
        uniforms: { items },
        bindings: {
          codes: part.codes,
          ...(part.scales ? { scales: part.scales } : {}),
          x: lowering.tensor(x),
          ids: lowering.tensor(ids),
          ...(weights ? { weights: lowering.tensor(weights) } : {}),
          y: lowering.tensor(outputs[0]!),
        },
        workgroups: grid(items * tiles),
        label: `${experts[first]!.name} … of ${end - first}`,
        bytes: Math.min(M * J, end - first) * (codes + scales) + 4 * (elementCount(x.shape) + elementCount(ids.shape)),
        flops: 2 * M * J * outputsPerExpert * width,
      });
    }
  },
});

/** Stretches of experts that one binding holds, in order; all of them in one where the device allows it. */
function placed(
  lowering: Lowering,
  experts: readonly Weight[],
  first = 0,
): readonly { readonly first: number; readonly end: number; readonly part: WeightPart }[] {
  const part = lowering.weights(experts);
  if (part) return [{ first, end: first + experts.length, part }];
  if (experts.length === 1) {
    const [{ name, format, rows, width }] = experts as readonly [Weight];
    throw new DeviceLimitError(
      `expertLinear: "${name}" takes ${weightBytes(format, rows, width).codes} bytes, more than one binding of this device holds (${lowering.device.limits.maxStorageBufferBindingSize}). Load it in a smaller format.`,
    );
  }
  const half = experts.length >> 1;
  return [...placed(lowering, experts.slice(0, half), first), ...placed(lowering, experts.slice(half), first + half)];
}

/**
 * Each row through experts of its own: `y[m, j] = W(ids[m, j]) x[m]`, or with `weights`
 * `y[m] = sum over j of weights[m, j] W(ids[m, j]) x[m, j]`. Only the matrices that are named are read, once for each row that names
 * them. f32 products and sums in an order that depends on neither the number of rows nor what other rows choose.
 *
 * @param x `[M, K]` f32, or `[M, J, K]`: an input for each of a row's experts.
 * @param experts E matrices `[N, K]` of one shape and format, in any of the formats of weights.
 * @param ids `[M, J]` u32: experts of each row; one that does not exist gives zeros.
 * @param options `weights`: `[M, J]` f32.
 * @returns `[M, J, N]` f32; with weights `[M, N]`.
 * @throws ShapeError, DTypeError or ArgumentError for operands that do not fit; DeviceLimitError, when compiled, for a matrix that no
 *   binding holds.
 */
export function expertLinear(
  x: Tensor,
  experts: readonly Weight[],
  ids: Tensor,
  { weights }: { readonly weights?: Tensor } = {},
): Tensor {
  const [first] = experts;
  if (!first) throw new ArgumentError('expertLinear: expected at least one expert, got none.');
  const odd = experts.find(({ shape, format }) => !sameShape(shape, first.shape) || format !== first.format);
  if (odd || first.shape.length !== 2) {
    throw new ShapeError(
      `expertLinear: expected matrices [N, K] of one shape and format, got "${first.name}" ${shapeText(first.shape)} in ${first.format}${odd ? ` and "${odd.name}" ${shapeText(odd.shape)} in ${odd.format}` : ''}.`,
    );
  }
  expectRank('expertLinear: ids', ids, 2);
  const [M, J] = ids.shape as readonly [number, number];
  expectShape('expertLinear: ids', ids, [M, J]);
  expectDType('expertLinear: ids', ids, ['u32']);
  expectShape('expertLinear: x', x, x.shape.length === 3 ? [M, J, first.width] : [M, first.width]);
  expectDType('expertLinear: x', x, ['f32']);
  if (weights) {
    expectShape('expertLinear: weights', weights, [M, J]);
    expectDType('expertLinear: weights', weights, ['f32']);
  }
  const operands = [x, ids, ...(weights ? [weights] : []), ...experts];
  return x.graph.apply(expertLinearOperation, operands, { summed: weights !== undefined })[0]!;
}
