import type { Accepted, Round, TargetOutputs } from '@forerun/contracts';
import { gatherRows, type Tensor } from '@forerun/tensor';

/** Positions whose hidden states the target has just computed and that stay: a prefilled chunk, or the kept path of a tree. */
export interface KnownRows {
  /** `[M]` u32: positions, one behind the other. */
  readonly positions: Tensor;
  /** `[M]` u32: length that length-dependent rope scaling adapts to. */
  readonly spans: Tensor;
  /** `[1]` u32: rows in use. */
  readonly count: Tensor;
  /** `[1]` u32: position of the first. */
  readonly begin: Tensor;
  /** These rows of a target's output `[M, …]`. */
  pick(output: Tensor): Tensor;
}

/** The rows of a prefilled chunk. */
export function prefilledRows({ rows }: TargetOutputs): KnownRows {
  const { positions, spans, count, length } = rows;
  return { positions, spans, count, begin: length, pick: (output) => output };
}

/** The rows of a verified tree that were kept. */
export function keptRows(round: Round, { path, count }: Accepted): KnownRows {
  const indexes = path.graph.constant(Uint32Array.from({ length: path.shape[0]! }, (_, row) => row));
  const positions = round.length.add(indexes);
  return { positions, spans: positions.add(1), count, begin: round.length, pick: (output) => gatherRows(output, path) };
}
