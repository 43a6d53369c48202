import type { AdapterKind } from '../../device/device.ts';

/**
 * How the sum over keys is ordered: keys go in blocks of `block` from position 0, blocks are folded in order into spans of `spanBlocks`, and
 * spans in order into the row. Everything that computes rows of up to 64 keeps this order, however the work is cut, so that a row's
 * bits depend on the family alone.
 */
export interface AttentionFamily {
  /** Invocations of a workgroup. */
  readonly lanes: number;
  /** Keys of a block; a multiple of `lanes`. */
  readonly block: number;
  /** Blocks of a span. */
  readonly spanBlocks: number;
  /** Most queries of a workgroup; no part of the order. */
  readonly queries: number;
  /** Reads that are under way together; no part of the order. */
  readonly unroll: number;
  /** Spans of a row that are folded at the same time; no part of the order. */
  readonly spanGroups: number;
}

/** Barriers cost a software adapter far more than arithmetic, so its workgroups are small. */
export const attentionFamilies: Readonly<Record<AdapterKind, AttentionFamily>> = {
  hardware: { lanes: 64, block: 64, spanBlocks: 8, queries: 8, unroll: 8, spanGroups: 4 },
  software: { lanes: 16, block: 32, spanBlocks: 8, queries: 4, unroll: 2, spanGroups: 1 },
};

/** Rows from which on tiles of queries are faster; never within the 64 whose bits are independent of their company. */
export const flashRows: Readonly<Record<AdapterKind, number>> = { hardware: 65, software: Infinity };

/** Sizes that the kernels of one application share. */
export interface AttentionSizes {
  readonly rows: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  /** Positions that there may be. */
  readonly capacity: number;
  /** Slots of a ring of positions; undefined where each has its own. */
  readonly ring: number | undefined;
  readonly packed: boolean;
  /** Last positions that a row sees; undefined for all. */
  readonly window: number | undefined;
  /** Entries of a row of the path table; undefined for a chain. */
  readonly maxDepth: number | undefined;
}

/** One way to cut the work; none changes bits. */
export interface SplitPlan {
  /** Query heads that share a workgroup's reads; they have one kv head. */
  readonly groupHeads: number;
  /** Rows that share a workgroup's reads. */
  readonly groupRows: number;
  /** Blocks that a workgroup folds before it writes a partial: 1, or a whole span. */
  readonly partialBlocks: number;
  /** Partials of a row that may exist at once. */
  readonly partials: number;
  /** Rows of a pass; more rows are further passes. */
  readonly passRows: number;
  readonly partialBytes: number;
}

/** Most rows whose workgroups would be too few if each took a whole span. */
const fewRows = 32;
const mostPartialBytes = 32 * 2 ** 20;

/** The largest divisor of `value` that is at most `most`. */
export const largestDivisor = (value: number, most: number): number => {
  let divisor = Math.min(value, most);
  while (value % divisor !== 0) divisor--;
  return divisor;
};

/** Cuts the work of `sizes`: small partials where rows are few and parallelism is scarce, whole spans where memory would be. */
export function splitPlan(sizes: AttentionSizes, { block, spanBlocks, queries }: AttentionFamily): SplitPlan {
  const { rows, heads, kvHeads, valueDim, capacity, window } = sizes;
  const groupHeads = largestDivisor(heads / kvHeads, queries);
  const groupRows = Math.max(1, Math.min(rows, Math.floor(queries / groupHeads)));
  const partialsOf = (blocks: number) => {
    const keys = block * blocks;
    const all = Math.ceil(capacity / keys);
    // Rows of a group lie up to `rows` positions apart, and a window begins anywhere in a partial.
    return window === undefined ? all : Math.min(all, Math.floor((window + rows - 2) / keys) + 2);
  };
  const rowBytes = (blocks: number) => partialsOf(blocks) * heads * (valueDim + 2) * 4;
  const partialBlocks = rows <= fewRows && rows * rowBytes(1) <= mostPartialBytes ? 1 : spanBlocks;
  const fitting = Math.max(1, Math.floor(mostPartialBytes / rowBytes(partialBlocks)));
  const passRows = Math.min(rows, Math.max(groupRows, Math.floor(fitting / groupRows) * groupRows));
  return {
    groupHeads,
    groupRows,
    partialBlocks,
    partials: partialsOf(partialBlocks),
    passRows,
    partialBytes: passRows * rowBytes(partialBlocks),
  };
}
