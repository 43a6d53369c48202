import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import type { ElementAccess } from './elements.ts';
import type { AttentionFamily } from './family.ts';
import { blockLayout, partialStride } from './family.ts';
import { partialSlotWgsl, partialUniforms } from './partial-slot.wgsl.ts';
import { scoreWgsl } from './score.wgsl.ts';
import { slotWgsl } from './slot.wgsl.ts';
import { scoresWgsl } from './split-scores.wgsl.ts';
import { valuesWgsl } from './split-values.wgsl.ts';
import type { ScoreOptions } from './score.wgsl.ts';

/** Constants of the partial kernel. */
export interface SplitConstants extends AttentionFamily {
  readonly heads: number;
  readonly kvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly window: number | undefined;
  /** Slots of a ring of positions; undefined where each has its own. */
  readonly ring: number | undefined;
  readonly groupHeads: number;
  readonly groupRows: number;
  readonly score: ScoreOptions;
}

/** What the partial kernel reads. */
export interface SplitParts {
  readonly key: ElementAccess;
  readonly value: ElementAccess;
  /** Whether rows lie in a tree, and find slots by their paths. */
  readonly tree: boolean;
  /** Whether each row has a first position of its own. */
  readonly begins: boolean;
}

/** What differs between widths and capacities that share a pipeline. */
const uniforms = {
  /** End of this pass's rows, and its first. */
  rows: 'u32',
  rowBegin: 'u32',
  passRows: 'u32',
  ...partialUniforms,
  capacity: 'u32',
  maxDepth: 'u32',
} as const;

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/**
 * One workgroup computes, for the queries of one kv head in a few rows, the partial softmax over one block or span: its greatest
 * score, the sum of weights and the weighted sum of values. Phases of a block: lanes score keys for all queries; weights follow from the
 * scores of the whole block; lanes own columns of the values and walk their keys in order. Workgroups that read the same keys are neighbours,
 * and spans come before blocks, which are done sooner.
 */
export function splitKernel({ key, value, tree, begins }: SplitParts) {
  const bindings: Record<string, Binding> = {
    q: read(key.type),
    keys: read(key.binding),
    values: read(value.binding),
    depths: read('u32'),
    count: read('u32'),
    ...(tree ? { length: read('u32'), path: read('u32') } : {}),
    ...(begins ? { begins: read('u32') } : {}),
    partials: write(value.width === 4 ? 'vec4<f32>' : 'f32'),
  };
  return defineKernel({
    name: `attention-split${tree ? '-tree' : ''}${begins ? '-begins' : ''}-${key.binding}-${value.binding}`,
    bindings,
    uniforms,
    wgsl: (c: SplitConstants) => splitWgsl(c, { key, value, tree, begins }),
  });
}

/** What the phases of a block share. */
export interface BlockText {
  readonly c: SplitConstants;
  readonly parts: SplitParts;
  readonly layout: ReturnType<typeof blockLayout>;
  /** Queries of a workgroup, and the quads that they make. */
  readonly queries: readonly number[];
  readonly quads: readonly number[];
  /** Queries of a row of the workgroup. */
  readonly ofRow: (row: number) => readonly number[];
  /** WGSL of the slot of a position that all rows share, and of one on a row's own path. */
  readonly slot: (position: string) => string;
  readonly pathSlot: (row: number, position: string) => string;
  /** WGSL of the end of what a row sees. */
  readonly rowEnd: (row: number) => string;
}

function splitWgsl(c: SplitConstants, parts: SplitParts): string {
  const { key, value, tree, begins } = parts;
  const { lanes, block, spanBlocks, kvHeads, heads, groupHeads, groupRows } = c;
  const keyVectors = c.keyDim / key.width;
  const chunks = heads / kvHeads / groupHeads;
  const queries = range(groupRows * groupHeads);
  const quads = range(Math.ceil(queries.length / 4));
  const columns = c.valueDim / value.width;
  const layout = blockLayout(c, { keyVectors, columns, queries: queries.length });
  const { queryVectors, groups } = layout;
  const rowOf = (query: number) => Math.floor(query / groupHeads);
  const windowed = c.window !== undefined;
  const each = (items: readonly number[], text: (i: number) => string, separator = '\n') =>
    items.map(text).join(separator);
  const quadOf = (quad: number, text: (n: number) => string, empty: string) =>
    range(4)
      .map((k) => (4 * quad + k < queries.length ? text(4 * quad + k) : empty))
      .join(', ');
  const shared: BlockText = {
    c,
    parts,
    layout,
    queries,
    quads,
    ofRow: (row) => queries.filter((query) => rowOf(query) === row),
    slot: (position) => slotWgsl(position, c.ring),
    pathSlot: (row, position) => slotWgsl(`path[(rowBase + ${row}u) * u.maxDepth + ${position} - shared_]`, c.ring),
    rowEnd: (row) => `seenEnds[${(row * groupHeads) >> 2}u].${'xyzw'[(row * groupHeads) & 3]}`,
  };
  const scores = scoresWgsl(shared);
  const values = valuesWgsl(shared);
  const { owned, query, guard, cols, guarded } = values;
  const stride = partialStride(c.valueDim);
  const sees = `blockBegin < seenEnds[query >> 2u][query & 3u] && blockBegin + ${block}u > seenBegins[query >> 2u][query & 3u]`;
  const store = (k: number) =>
    value.width === 4
      ? `${each(cols, (j) => guarded(j, `partials[at + column + ${j * lanes}u] = o${k}_${j};`))}
      if (column == 0u) { partials[at + ${stride / 4 - 1}u] = vec4<f32>(top${k}, total${k}, 0.0, 0.0); }`
      : `${each(cols, (j) =>
          guarded(
            j,
            each(
              range(value.width),
              (i) =>
                `partials[at + (column + ${j * lanes}u) * ${value.width}u + ${i}u] = ${value.component(`o${k}_${j}`, i)};`,
              ' ',
            ),
          ),
        )}
      if (column == 0u) { partials[at + ${stride - 4}u] = top${k}; partials[at + ${stride - 3}u] = total${k}; }`;

  return /* wgsl */ `
const lowest = -3.0e38;
var<workgroup> queries: array<${key.type}, ${queries.length * queryVectors}>;
var<workgroup> scores: array<vec4<f32>, ${quads.length * block}>;
var<workgroup> weights: array<vec4<f32>, ${quads.length * block}>;
var<workgroup> peaks: array<vec4<f32>, ${quads.length}>;
var<workgroup> seenBegins: array<vec4<u32>, ${quads.length}>;
var<workgroup> seenEnds: array<vec4<u32>, ${quads.length}>;
var<workgroup> extent: vec4<u32>;
${layout.exchange > 0 ? `var<workgroup> exchange: array<vec4<f32>, ${layout.exchange}>;` : ''}
${groups > 1 ? `var<workgroup> groupTotals: array<f32, ${queries.length * groups}>;` : ''}
${scoreWgsl(c.score)}
${partialSlotWgsl(spanBlocks)}
@compute @workgroup_size(${lanes})
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let rowBase = u.rowBegin + workgroup.x * ${groupRows}u;
  let kvHead = workgroup.y / ${chunks}u;
  let headBase = kvHead * ${heads / kvHeads}u + (workgroup.y % ${chunks}u) * ${groupHeads}u;
  let used = min(count[0], u.rows);
  if (lane == 0u) {
    var first = 0xffffffffu;
    var last = 0u;
${each(
  range(groupRows),
  (r) => `    var begin${r} = 0u;
    var end${r} = 0u;
    if (rowBase + ${r}u < used) {
      end${r} = min(depths[rowBase + ${r}u] + 1u, u.capacity);
      begin${r} = ${windowed ? `end${r} - min(end${r}, ${c.window}u)` : '0u'};
${
  begins
    ? `      begin${r} = max(begin${r}, begins[rowBase + ${r}u]);
      if (begin${r} >= end${r}) { end${r} = 0u; }`
    : ''
}
      if (end${r} > 0u) { first = min(first, begin${r}); last = max(last, end${r}); }
    }`,
)}
${each(
  quads,
  (quad) => `    seenBegins[${quad}u] = vec4<u32>(${quadOf(quad, (n) => `begin${rowOf(n)}`, '0u')});
    seenEnds[${quad}u] = vec4<u32>(${quadOf(quad, (n) => `end${rowOf(n)}`, '0u')});`,
)}
    extent = vec4<u32>(first, last, ${tree ? 'length[0]' : 'last'}, 0u);
  }
  for (var i = lane; i < ${queries.length * queryVectors}u; i += ${lanes}u) {
    let query = i / ${queryVectors}u;
    let row = rowBase + query / ${groupHeads}u;
    var part = ${key.type}(0.0);
    if (row < u.rows${queryVectors === keyVectors ? '' : ` && i % ${queryVectors}u < ${keyVectors}u`}) {
      part = q[(row * ${heads}u + headBase + query % ${groupHeads}u) * ${keyVectors}u + i % ${queryVectors}u];
    }
    queries[i] = part;
  }
  let bounds = workgroupUniformLoad(&extent);
  let last = bounds.y;
  let shared_ = min(bounds.z, last);
  let partial_ = workgroups.z - 1u - workgroup.z${windowed ? ` + partialOfBlock(bounds.x / ${block}u)` : ''};
  let isSpan = partial_ >= u.headBlocks;
  let firstKey = firstBlockOf(partial_) * ${block}u;
  if (last == 0u || firstKey >= last) { return; }
${values.setup}
${each(
  owned,
  (k) => `  var top${k} = lowest;
  var total${k} = 0.0;
${each(cols, (j) => `  var o${k}_${j} = ${value.type}(0.0);`)}`,
)}
  let firstBlock = max(firstKey, bounds.x / ${block}u * ${block}u);
  let endKey = firstKey + select(${block}u, ${block * spanBlocks}u, isSpan);
  let endBlock = min(endKey, last);
  for (var blockBegin = firstBlock; blockBegin < endBlock; blockBegin += ${block}u) {
    let inShared = min(min(${block}u, last - blockBegin), max(shared_, blockBegin) - blockBegin);
${values.ahead}
${scores}
    workgroupBarrier();
${values.sums}
${each(
  owned,
  (k) => `    ${guard(k)} {
      let query = ${query(k)};
      let peak${k} = peaks[query >> 2u][query & 3u];
      if (!isSpan) {
        top${k} = peak${k};
        total${k} = sum${k};
${each(cols, (j) => `        o${k}_${j} = a${k}_${j};`)}
      } else if (${sees}) {
        let peak = max(top${k}, peak${k});
        let kept = exp(top${k} - peak);
        let added = exp(peak${k} - peak);
        top${k} = peak;
        total${k} = fma(total${k}, kept, sum${k} * added);
${each(cols, (j) => `        o${k}_${j} = fma(o${k}_${j}, ${value.type}(kept), a${k}_${j} * added);`)}
      }
    }`,
)}
  }
${each(
  owned,
  (k) => `  ${guard(k)} {
    let query = ${query(k)};
    if (firstKey < seenEnds[query >> 2u][query & 3u] && endKey > seenBegins[query >> 2u][query & 3u]) {
      let row = rowBase + query / ${groupHeads}u - u.rowBegin;
      let at = ((partialSlot(partial_) * u.passRows + row) * ${heads}u + headBase + query % ${groupHeads}u) * ${value.width === 4 ? stride / 4 : stride}u;
      ${store(k)}
    }
  }`,
)}
}`;
}
