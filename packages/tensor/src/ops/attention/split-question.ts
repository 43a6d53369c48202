/** What attention asks of the choice table: how to cut its work in the order of sums of a family. */
import type { ChoiceQuestion, TimedBuffer, TimedDispatch } from '../../compile/choices.ts';
import type { AnyKernel } from '../../kernel/define-kernel.ts';
import type { Grid } from '../../kernel/grid.ts';
import type { AttentionFamily, AttentionSizes } from './family.ts';
import { fittingQueries, splitPlan } from './family.ts';

/** One kernel of a cut, with its grid for a bound and without its buffers. */
export interface SplitDispatch {
  readonly kernel: AnyKernel;
  readonly constants: object;
  readonly uniforms: Readonly<Record<string, number>>;
  readonly workgroups: (bound: number) => Grid;
}

/** Positions in the cache when cuts are timed; a step's cost at longer contexts grows alike for all. */
const timedPositions = 1024;

/** Cuts that give the same bits, the default first: they read more at a time, earlier, or for more queries. */
export function splitCandidates(sizes: AttentionSizes, family: AttentionFamily): readonly AttentionFamily[] {
  const { queries, unroll, ahead } = family;
  const others = [
    { unroll: unroll / 2 },
    { ahead: !ahead },
    { unroll: 2 * unroll, ahead: !ahead },
    ...(sizes.rows > 1 ? [{ queries: queries / 2 }, { queries: 2 * queries }] : []),
  ];
  const { rows, heads, kvHeads } = sizes;
  // More queries than a workgroup's memory holds, or than there are, are the cut with those.
  const useful = ({ queries: most }: AttentionFamily) =>
    most <= queries ||
    (most <= (rows * heads) / kvHeads && fittingQueries(sizes, { ...family, queries: most }) === most);
  return [family, ...others.map((changed) => ({ ...family, ...changed })).filter(useful)];
}

const familyName = ({ lanes, queries, unroll, ahead }: AttentionFamily) =>
  `${lanes} wide, ${queries} queries, ${unroll} reads${ahead ? ', values ahead' : ''}`;

/** Key of the question. */
export function splitKey(
  sizes: AttentionSizes,
  { lanes, block, spanBlocks, keyLanes, valueGroups, spanGroups }: AttentionFamily,
): string {
  const { rows, heads, kvHeads, keyDim, valueDim, packed, ring, window, maxDepth } = sizes;
  const parts = [
    ...(packed ? ['f16'] : []),
    ...(ring === undefined ? [] : ['ring']),
    ...(window === undefined ? [] : [`window ${window}`]),
    ...(maxDepth === undefined ? [] : ['tree']),
  ];
  const shape = `${rows} rows, ${heads}/${kvHeads} heads of ${keyDim}/${valueDim}, blocks of ${block}x${spanBlocks} by ${lanes}/${keyLanes}/${valueGroups}/${spanGroups}`;
  return ['attention', shape, ...parts].join(' ');
}

/** Buffers of both kernels by name, as far as timing reads them: all rows look back on all timed positions. */
function buffersOf(sizes: AttentionSizes, positions: number, partialBytes: number): Record<string, TimedBuffer> {
  const { rows, heads, kvHeads, keyDim, valueDim, packed, maxDepth } = sizes;
  const cacheBytes = (dim: number) => (positions * kvHeads * dim * 4) / (packed ? 2 : 1);
  return {
    q: { bytes: rows * heads * keyDim * 4 },
    keys: { bytes: cacheBytes(keyDim), streamed: true },
    values: { bytes: cacheBytes(valueDim), streamed: true },
    depths: { bytes: rows * 4, fill: positions - 1 },
    count: { bytes: 4, fill: rows },
    length: { bytes: 4, fill: positions },
    path: { bytes: rows * (maxDepth ?? 1) * 4 },
    begins: { bytes: rows * 4 },
    sinks: { bytes: heads * 4 },
    partials: { bytes: partialBytes },
    y: { bytes: rows * heads * valueDim * 4 },
    prepared: { bytes: 2 * rows * heads * valueDim * 4 },
    preparedGain: { bytes: heads * valueDim * 4 },
  };
}

/** The question which cut to take. */
export function splitQuestion(options: {
  readonly sizes: AttentionSizes;
  readonly family: AttentionFamily;
  /** The kernels of a cut's first pass of rows, partials first. */
  readonly dispatches: (cut: AttentionFamily) => readonly SplitDispatch[];
}): ChoiceQuestion<AttentionFamily> {
  const { sizes, family, dispatches } = options;
  const positions = Math.max(1, Math.min(timedPositions, sizes.ring ?? sizes.capacity));
  const work = (cut: AttentionFamily): TimedDispatch[] => {
    const buffers = buffersOf(sizes, positions, splitPlan(sizes, cut).partialBytes);
    return dispatches(cut).map(({ kernel, constants, uniforms, workgroups }) => ({
      kernel,
      constants,
      uniforms,
      buffers: Object.fromEntries(Object.keys(kernel.bindings).map((name) => [name, buffers[name]!])),
      workgroups: workgroups(positions),
    }));
  };
  return { key: splitKey(sizes, family), candidates: splitCandidates(sizes, family), name: familyName, work };
}

/** A cut in words. */
export const splitText = familyName;
