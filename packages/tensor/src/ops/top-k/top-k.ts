import { elementCount, rowCount, rowWidth } from '../../graph/dtype.ts';
import { expectDType, expectInteger, expectRank } from '../../graph/expect.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { rowLanes } from '../../wgsl/reduce.ts';
import { topKChunksKernel, topKKernel, topKMergeKernel } from './top-k.wgsl.ts';

/** Most entries that `topK` keeps. */
export const maxTopK = 128;
/** Elements of a row that one workgroup selects from where a row is split. */
const chunkElements = 4096;

/** `top-k` over the last axis; outputs values and indices. */
export const topKOperation = defineOperation<{ readonly k: number }>({
  name: 'top-k',
  infer(operands, { k }) {
    const [x] = operands as readonly [Tensor];
    expectRank('topK: x', x, 1);
    expectDType('topK: x', x, ['f32']);
    expectInteger('topK: k', k, [1, Math.min(maxTopK, rowWidth(x.shape))]);
    const shape = [...x.shape.slice(0, -1), k];
    return [
      { shape, dtype: 'f32' },
      { shape, dtype: 'u32' },
    ];
  },
  reference([x], { k }) {
    const width = rowWidth(x!.shape);
    const rows = rowCount(x!.shape);
    const values = new Float64Array(rows * k);
    const indices = new Float64Array(rows * k);
    const nanFirst = (a: number, b: number) => Number(Number.isNaN(b)) - Number(Number.isNaN(a));
    for (let row = 0; row < rows; row++) {
      const elements = x!.data.subarray(row * width, (row + 1) * width);
      const order = Array.from(elements.keys()).sort((a, b) => {
        const [first, second] = [elements[a]!, elements[b]!];
        return nanFirst(first, second) || Number(second > first) - Number(second < first) || a - b;
      });
      for (let i = 0; i < k; i++) {
        values[row * k + i] = elements[order[i]!]!;
        indices[row * k + i] = order[i]!;
      }
    }
    const shape = [...x!.shape.slice(0, -1), k];
    return [
      { shape, dtype: 'f32', data: values },
      { shape, dtype: 'u32', data: indices },
    ];
  },
  lower(lowering, { operands, outputs, attributes: { k } }) {
    const tensor = operands[0] as Tensor;
    const rows = rowCount(tensor.shape);
    const width = rowWidth(tensor.shape);
    const x = lowering.tensor(tensor);
    const [values, indices] = [lowering.tensor(outputs[0]!), lowering.tensor(outputs[1]!)];
    const uniforms = { rows };
    // Three rounds of counting and the collection are typical.
    const cost = { bytes: 4 * elementCount(tensor.shape), flops: 4 * elementCount(tensor.shape) };
    if (width <= 2 * chunkElements) {
      lowering.dispatch(topKKernel, {
        constants: { width, k, lanes: rowLanes(lowering.device, width) },
        uniforms,
        bindings: { x, values, indices },
        workgroups: grid(rows),
        ...cost,
      });
      return;
    }
    const chunks = Math.ceil(width / chunkElements);
    const candidates = chunks * k;
    const parts = lowering.scratch(rows * candidates * 8, 'top-k parts');
    lowering.dispatch(topKChunksKernel, {
      constants: { width, k, chunk: chunkElements, lanes: rowLanes(lowering.device, chunkElements) },
      uniforms,
      bindings: { x, parts },
      workgroups: grid(rows * chunks),
      ...cost,
    });
    lowering.dispatch(topKMergeKernel, {
      constants: { width, k, candidates, lanes: rowLanes(lowering.device, candidates) },
      uniforms,
      bindings: { x, parts, values, indices },
      workgroups: grid(rows),
      bytes: 8 * rows * candidates,
    });
  },
});

/**
 * The k largest elements along the last axis, the largest first; the lower index comes first among equals, both zeros being equal.
 * NaN comes before every number, so that it is seen.
 *
 * @param x `[..., N]` f32.
 * @param k from 1 to {@link maxTopK} (128) and at most N.
 * @returns `values` `[..., k]` f32 and `indices` `[..., k]` u32.
 * @throws ShapeError, DTypeError or ArgumentError for operands that do not fit.
 */
export function topK(x: Tensor, k: number): { readonly values: Tensor; readonly indices: Tensor } {
  const [values, indices] = x.graph.apply(topKOperation, [x], { k });
  return { values: values!, indices: indices! };
}
