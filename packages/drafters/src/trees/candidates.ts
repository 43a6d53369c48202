import { gatherRows, reduce, type Tensor, topK } from '@forerun/tensor';

/** The most likely entries of each row, best first. */
export interface Candidates {
  /** `[M, k]` u32: indexes into the row. */
  readonly indexes: Tensor;
  /** `[M, k]` f32: `x - ln(sum(exp(x)))`. */
  readonly scores: Tensor;
}

/** Log-probabilities and indexes of the k best of each row of logits `[M, V]`. */
export function bestCandidates(logits: Tensor, k: number): Candidates {
  const { values, indices } = topK(logits, k);
  const largest = reduce(logits, 'max', { keepDims: true });
  const normaliser = reduce(logits.sub(largest).exp(), 'sum', { keepDims: true }).log();
  return { scores: values.sub(largest).sub(normaliser), indexes: indices };
}

/** Elements of a vector `[N]` in the order of `rows` `[M]` u32. */
export const pick = (column: Tensor, rows: Tensor): Tensor => gatherRows(column.reshape([-1, 1]), rows).reshape([-1]);
