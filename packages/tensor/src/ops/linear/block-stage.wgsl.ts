/**
 * What kernels of prefill over whole blocks share: how a slice of prepared rows and of codes in q4 or q8 passes through registers into
 * workgroup memory, so that the next slice is on its way while this one is multiplied.
 */
import { quantBlock } from '../../graph/weight.ts';
import type { LinearSlots } from './linear-slots.ts';

/** Moves part of a slice: `fetch` loads what a lane takes of it, `store` puts it into workgroup memory. */
export interface BlockStage {
  readonly declare: string;
  readonly fetch: string;
  readonly store: string;
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Shares `count` items out to the lanes of a workgroup; `item` is the WGSL of a lane's own, and `i` tells them apart. */
export function sharedStage(count: number, lanes: number, parts: (item: string, i: number) => BlockStage): BlockStage {
  const stages = range(Math.ceil(count / lanes)).map((i) => {
    const { declare, fetch, store } = parts(`(local + ${i * lanes}u)`, i);
    const guard = (text: string) =>
      (i + 1) * lanes <= count ? text : `if (local + ${i * lanes}u < ${count}u) { ${text} }`;
    return { declare, fetch: guard(fetch), store: guard(store) };
  });
  const of = (part: keyof BlockStage) => stages.map((stage) => stage[part]).join('\n    ');
  return { declare: of('declare'), fetch: of('fetch'), store: of('store') };
}

/** WGSL of the weight's row that is row `row` of a tile of `outputs` rows of each matrix. */
export function sourceRow({ outputs, rowOffset }: LinearSlots, tileOutputs: number, row: string): string {
  return `(min(firstOutput + ${row} % ${tileOutputs}u, ${outputs - 1}u) + ${row} / ${tileOutputs}u * ${outputs}u + ${rowOffset}u)`;
}

/**
 * The pieces of 16 bytes of prepared rows, `slice` of each row.
 * @param options.vectors - Vectors of 16 bytes of a prepared row.
 * @param options.put - WGSL that stores a piece at a place of the slice of a row.
 */
export function rowStage(options: {
  readonly slice: number;
  readonly vectors: number;
  readonly rows: number;
  readonly lanes: number;
  readonly put: (at: { readonly place: string; readonly row: string }, piece: string) => string;
}): BlockStage {
  const { slice, vectors, rows, lanes, put } = options;
  return sharedStage(rows * slice, lanes, (item, i) => {
    const [row, place] = [`(${item} / ${slice}u)`, `(${item} % ${slice}u)`];
    return {
      declare: `var x${i} = vec4<u32>(0u);
  let xAt${i} = min(firstRow + ${row}, u.rows - 1u) * ${vectors}u + ${place};`,
      fetch: `x${i} = x[xAt${i} + piece];`,
      store: put({ place, row }, `x${i}`),
    };
  });
}

/**
 * WGSL of the walk along K: `multiply` runs for every slice, in uniform control flow, and `block` is the block that follows it.
 * @param sizes - Values of a row, of a slice, and pieces of a slice of a row of `x`.
 */
export function blockWalkWgsl(
  stages: readonly BlockStage[],
  { width, depth, slice }: { readonly width: number; readonly depth: number; readonly slice: number },
  multiply: string,
): string {
  const staged = (part: keyof BlockStage) => stages.map((stage) => stage[part]).join('\n    ');
  const blocks = width / quantBlock;
  return /* wgsl */ `
  ${staged('declare')}
  var block = 0u;
  var piece = 0u;
  {
    ${staged('fetch')}
  }
  while (block < ${blocks}u) {
    workgroupBarrier();
    ${staged('store')}
    workgroupBarrier();
    block += ${depth / quantBlock}u;
    piece += ${slice}u;
    if (block < ${blocks}u) {
    ${staged('fetch')}
    }
    ${multiply}
  }`;
}
