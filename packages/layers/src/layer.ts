import type { Rows } from '@forerun/contracts';
import type { Tensor } from '@forerun/tensor';

/** A layer that looks at each row alone: `[M, …]` to `[M, …]`. */
export type Layer = (x: Tensor) => Tensor;

/** A layer that also looks at the rows' places in their sequences, and keeps what it needs of them in `memory`. */
export type SequenceLayer<Memory> = (x: Tensor, rows: Rows, memory: Memory) => Tensor;
