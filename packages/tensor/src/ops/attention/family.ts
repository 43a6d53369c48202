import type { AdapterKind } from '../../device/device.ts';
import { elementAccess } from './elements.ts';

/**
 * How the sum over keys is ordered: keys go in blocks of `block` from position 0, blocks are folded in order into spans of `spanBlocks`,
 * spans in order into the row. Everything that computes rows of up to 64 keeps this order, however the work is cut, so that a row's
 * bits depend on the family alone.
 */
export interface AttentionFamily {
  /** Invocations of a workgroup; with `valueGroups` above 1 a part of the order. */
  readonly lanes: number;
  /** Keys of a block; a multiple or a divisor of `lanes`. */
  readonly block: number;
  /** Blocks of a span. */
  readonly spanBlocks: number;
  /** Neighbouring lanes that share the elements of a key, in turn; their sums are added in order. A power of two. */
  readonly keyLanes: number;
  /** Most groups of lanes that share the keys of a block when values are summed, in turn; their sums are added in order. A power of two. */
  readonly valueGroups: number;
  /** Most chains of spans: of `n` chains, span `s` of a row is folded into chain `s % n`, and chains in order into the row; see `spanChains`. */
  readonly spanGroups: number;
  /** Most queries of a workgroup; no part of the order. */
  readonly queries: number;
  /** Reads that are under way together; no part of the order. */
  readonly unroll: number;
  /** Whether the values of a block are read before its scores are made, where `unroll` covers them; no part of the order. */
  readonly ahead: boolean;
}

/** Barriers cost a software adapter far more than arithmetic, so its workgroups are small, and lanes share nothing. */
export const attentionFamilies: Readonly<Record<AdapterKind, AttentionFamily>> = {
  hardware: {
    lanes: 128,
    block: 32,
    spanBlocks: 8,
    keyLanes: 8,
    valueGroups: 8,
    spanGroups: 8,
    queries: 8,
    unroll: 8,
    ahead: false,
  },
  software: {
    lanes: 16,
    block: 32,
    spanBlocks: 8,
    keyLanes: 1,
    valueGroups: 1,
    spanGroups: 1,
    queries: 4,
    unroll: 2,
    ahead: false,
  },
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

/** The largest divisor of `value` that is at most `most`. */
export const largestDivisor = (value: number, most: number): number => {
  let divisor = Math.min(value, most);
  while (value % divisor !== 0) divisor--;
  return divisor;
};

/** Vectors of 16 bytes through which groups of lanes exchange values at a time. */
const exchanged = 512;

/** How a block is spread over the lanes of a workgroup. */
export interface BlockLayout {
  /** Vectors of a query, with zeros behind it so that each lane of a key has as many. */
  readonly queryVectors: number;
  /** Groups of lanes among which keys are dealt when values are summed, and vectors of a value. */
  readonly groups: number;
  readonly columns: number;
  /** Queries whose sums the groups exchange at a time. */
  readonly round: number;
  /** Vectors of 16 bytes through which lanes exchange sums. */
  readonly exchange: number;
}

/** How the kernel of partials reads keys and values. */
export function splitAccess(
  { keyDim, valueDim, packed }: Pick<AttentionSizes, 'keyDim' | 'valueDim' | 'packed'>,
  { lanes, valueGroups }: AttentionFamily,
) {
  const key = elementAccess(keyDim, { packed });
  // Lanes that do not share the keys of a block have columns for all.
  const value = elementAccess(valueDim, valueGroups > 1 ? { packed } : { packed, least: Math.ceil(valueDim / lanes) });
  return { key, value };
}

/** Spreads a block of keys of `keyVectors` and values of `columns` vectors, for some queries. */
export function blockLayout(
  { lanes, block, keyLanes, valueGroups }: AttentionFamily,
  { keyVectors, columns, queries }: { readonly keyVectors: number; readonly columns: number; readonly queries: number },
): BlockLayout {
  let groups = 1;
  while (2 * groups <= Math.min(valueGroups, block) && 2 * groups * columns <= lanes) groups *= 2;
  const round = Math.min(groups, 2 ** Math.floor(Math.log2(Math.max(1, exchanged / (groups * columns)))));
  const dots = keyLanes > 1 ? Math.ceil(queries / 4) * keyLanes * (block + 1) : 0;
  return {
    queryVectors: Math.ceil(keyVectors / keyLanes) * keyLanes,
    groups,
    columns,
    round,
    exchange: Math.max(dots, groups > 1 ? Math.min(round, queries) * groups * columns : 0),
  };
}

/** Bytes of workgroup memory that every device offers. */
const portableMemoryBytes = 16_384;

/** Chains of spans for values of a dimension: those of the family where portable workgroup memory holds a value of each, and what is written of one. */
export function spanChains({ spanGroups }: AttentionFamily, valueDim: number): number {
  let chains = spanGroups;
  while (chains > 1 && chains * (4 * valueDim + 8) + 5 * valueDim > portableMemoryBytes) chains /= 2;
  return chains;
}

/** Workgroup memory of the kernel of partials with so many queries, in bytes. */
function splitMemoryBytes(sizes: AttentionSizes, family: AttentionFamily, queries: number): number {
  const { key, value } = splitAccess(sizes, family);
  const vectors = { keyVectors: sizes.keyDim / key.width, columns: sizes.valueDim / value.width, queries };
  const { queryVectors, groups, exchange } = blockLayout(family, vectors);
  const quads = Math.ceil(queries / 4);
  const perQuery = queryVectors * key.width * 4 + groups * 4;
  return queries * perQuery + 16 * (2 * quads * family.block + 3 * quads + exchange + 1) + 64;
}

/** Queries that share a workgroup's reads: heads of one kv head, and rows. */
function queriesOf({ rows, heads, kvHeads }: AttentionSizes, most: number) {
  const groupHeads = largestDivisor(heads / kvHeads, most);
  return { groupHeads, groupRows: Math.max(1, Math.min(rows, Math.floor(most / groupHeads))) };
}

/** The most queries of a workgroup, up to those of the family, for which portable workgroup memory is enough. */
export function fittingQueries(sizes: AttentionSizes, family: AttentionFamily): number {
  let most = family.queries;
  for (; most > 1; most--) {
    const { groupHeads, groupRows } = queriesOf(sizes, most);
    if (splitMemoryBytes(sizes, family, groupHeads * groupRows) <= portableMemoryBytes) break;
  }
  return most;
}

/**
 * One way to cut the work; none changes bits. The first blocks of a sequence have a partial each, which spreads short contexts over the
 * whole device; from there on a partial is a whole span. So where a partial lies follows from positions alone.
 */
export interface SplitPlan {
  /** Query heads that share a workgroup's reads; they have one kv head. */
  readonly groupHeads: number;
  /** Rows that share a workgroup's reads. */
  readonly groupRows: number;
  /** Blocks from position 0 that have a partial each; whole spans. */
  readonly headBlocks: number;
  /** Places for partials of blocks, taken in turn. */
  readonly headSlots: number;
  /** Places for partials of spans, taken in turn. */
  readonly tailSlots: number;
  /** Rows of a pass; more rows are further passes. */
  readonly passRows: number;
  readonly partialBytes: number;
  /** Partials of a row that sees the first `keys` positions, as far as a window lets it. */
  readonly partialsOf: (keys: number) => number;
}

/** Workgroups that keep a device busy: blocks have partials of their own up to about so many. */
const busyWorkgroups = 1024;
const mostHeadBlocks = 256;
/** Memory for partials, unless the device binds less. */
const mostPartialBytes = 64 * 2 ** 20;

/** Numbers of 4 bytes of a partial: the values in whole vectors of four, and one of those with the greatest score and the sum of weights. */
export const partialStride = (valueDim: number): number => 4 * Math.ceil(valueDim / 4) + 4;

/**
 * Cuts the work of `sizes`.
 * @param most - Most bytes of partials at once.
 */
export function splitPlan(sizes: AttentionSizes, family: AttentionFamily, most: number = mostPartialBytes): SplitPlan {
  const { rows, heads, valueDim, capacity, window } = sizes;
  const { block, spanBlocks } = family;
  const { groupHeads, groupRows } = queriesOf(sizes, fittingQueries(sizes, family));
  const workgroups = (heads / groupHeads) * Math.ceil(rows / groupRows);
  const rowBytes = (partials: number) => partials * heads * partialStride(valueDim) * 4;
  const spanKeys = block * spanBlocks;
  const spans = Math.ceil(capacity / spanKeys);
  // Rows of a group lie up to `rows` positions apart, and a window begins anywhere in a partial.
  const seen = (keys: number) => (window === undefined ? Infinity : Math.floor((window + rows - 2) / keys) + 2);
  const inBlocks = seen(block) * workgroups <= 4 * busyWorkgroups && rows * rowBytes(seen(block)) <= most;
  const busyBlocks = Math.min(mostHeadBlocks, busyWorkgroups / workgroups);
  const headSpans = inBlocks ? spans : Math.min(spans, Math.max(1, Math.floor(busyBlocks / spanBlocks)));
  const headBlocks = headSpans * spanBlocks;
  const headSlots = Math.min(Math.ceil(capacity / block), headBlocks, inBlocks ? seen(block) : Infinity);
  const tailSlots = Math.min(spans - headSpans, seen(spanKeys));
  const fitting = Math.max(1, Math.floor(most / rowBytes(headSlots + tailSlots)));
  const passRows = Math.min(rows, Math.max(groupRows, Math.floor(fitting / groupRows) * groupRows));
  return {
    groupHeads,
    groupRows,
    headBlocks,
    headSlots,
    tailSlots,
    passRows,
    partialBytes: passRows * rowBytes(headSlots + tailSlots),
    partialsOf: (keys) =>
      Math.min(headSlots, Math.ceil(keys / block)) +
      Math.min(tailSlots, Math.max(0, Math.ceil(keys / spanKeys) - headSpans)),
  };
}
