import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import type { ElementAccess } from './elements.ts';
import type { AttentionFamily } from './family.ts';
import { largestDivisor } from './family.ts';
import { scoreWgsl } from './score.wgsl.ts';
import { slotWgsl } from './slot.wgsl.ts';
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
  readonly partialBlocks: number;
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
  partials: 'u32',
  capacity: 'u32',
  maxDepth: 'u32',
} as const;

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/**
 * One workgroup computes, for the queries of one kv head in a few rows, the partial softmax over one block or span: its greatest
 * score, the sum of weights and the weighted sum of values. Phases of a block: a lane scores a key for all queries; every lane finds the
 * maxima; a lane owns columns of the values and walks the keys in order.
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
    partials: write('f32'),
  };
  return defineKernel({
    name: `attention-split${tree ? '-tree' : ''}${begins ? '-begins' : ''}-${key.binding}-${value.binding}`,
    bindings,
    uniforms,
    wgsl: (c: SplitConstants) => splitWgsl(c, { key, value, tree, begins }),
  });
}

function splitWgsl(c: SplitConstants, { key, value, tree, begins }: SplitParts): string {
  const { lanes, block, kvHeads, heads, groupHeads, groupRows, partialBlocks, unroll } = c;
  const keyVectors = c.keyDim / key.width;
  const valueVectors = c.valueDim / value.width;
  const columns = Math.ceil(valueVectors / lanes);
  const chunks = heads / kvHeads / groupHeads;
  const queries = range(groupRows * groupHeads);
  const rowOf = (query: number) => Math.floor(query / groupHeads);
  const ofRow = (row: number) => queries.filter((query) => rowOf(query) === row);
  const partialKeys = block * partialBlocks;
  const windowed = c.window !== undefined;
  const each = (items: readonly number[], text: (i: number) => string, separator = '\n') =>
    items.map(text).join(separator);
  const cols = range(columns);
  const columnGuard = (i: number, text: string) =>
    (i + 1) * lanes <= valueVectors ? text : `if (lane + ${i * lanes}u < ${valueVectors}u) { ${text} }`;

  const quads = range(Math.ceil(queries.length / 4));
  const together = largestDivisor(keyVectors, unroll);
  /** Weight or score of a query, in the quad of queries that a lane writes as a whole. */
  const lane4 = (name: string, n: number) => `${name}${n >> 2}.${'xyzw'[n & 3]}`;

  // Loads stand in front of what uses them: their latencies overlap, and the order of sums stays.
  const dot = (of: readonly number[], slot: string) => `{
        let at = (${slotWgsl(slot, c.ring)} * ${kvHeads}u + kvHead) * ${keyVectors}u;
        for (var i = 0u; i < ${keyVectors}u; i += ${together}u) {
${each(range(together), (k) => `          let part${k} = ${key.load('keys', `at + i + ${k}u`)};`)}
${each(range(together), (k) => each(of, (n) => `          s${n} = fma(part${k}, queries[${n * keyVectors + k}u + i], s${n});`))}
        }
      }`;
  const accumulate = (
    of: readonly number[],
    { begin, end, slot }: { begin: string; end: string; slot: (i: string) => string },
  ) => `
    for (var i = ${begin}; i < ${end}; i += ${unroll}u) {
${each(
  range(unroll),
  (k) => `      let i${k} = min(i + ${k}u, ${end} - 1u);
      let at${k} = (${slotWgsl(slot(`i${k}`), c.ring)} * ${kvHeads}u + kvHead) * ${valueVectors}u + lane;
${each(
  cols,
  (j) => `      var v${k}_${j} = ${value.type}(0.0);
      ${columnGuard(j, `v${k}_${j} = ${value.load('values', `at${k} + ${j * lanes}u`)};`)}`,
)}`,
)}
${each(
  range(unroll),
  (k) => `      {
${each(
  quads.filter((quad) => of.some((n) => n >> 2 === quad)),
  (quad) =>
    `        let w${quad} = select(vec4<f32>(0.0), weights[i${k} * ${quads.length}u + ${quad}u], i + ${k}u < ${end});`,
)}
${each(
  of,
  (n) => `        sum${n} += ${lane4('w', n)};
${each(cols, (j) => `        a${n}_${j} = fma(${value.type}(${lane4('w', n)}), v${k}_${j}, a${n}_${j});`)}`,
)}
      }`,
)}
    }`;
  const treePath = (row: number, position: string) => `path[(rowBase + ${row}u) * u.maxDepth + ${position} - shared_]`;
  const seen = (n: number) => `position >= begin${rowOf(n)} && position < end${rowOf(n)}`;
  const quadOf = (quad: number, text: (n: number) => string, empty: string) =>
    range(4)
      .map((k) => (4 * quad + k < queries.length ? text(4 * quad + k) : empty))
      .join(', ');

  return /* wgsl */ `
const lowest = -3.0e38;
var<workgroup> queries: array<${key.type}, ${queries.length * keyVectors}>;
var<workgroup> scores: array<vec4<f32>, ${quads.length * block}>;
var<workgroup> weights: array<vec4<f32>, ${quads.length * block}>;
var<workgroup> peaks: array<vec4<f32>, ${quads.length}>;
var<workgroup> extent: vec4<u32>;
${scoreWgsl(c.score)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let rowBase = u.rowBegin + workgroup.z * ${groupRows}u;
  let kvHead = workgroup.y / ${chunks}u;
  let headBase = kvHead * ${heads / kvHeads}u + (workgroup.y % ${chunks}u) * ${groupHeads}u;
  let used = min(count[0], u.rows);
${each(
  range(groupRows),
  (r) => `  var begin${r} = 0u;
  var end${r} = 0u;
  if (rowBase + ${r}u < used) {
    end${r} = min(depths[rowBase + ${r}u] + 1u, u.capacity);
    begin${r} = ${windowed ? `end${r} - min(end${r}, ${c.window}u)` : '0u'};
${
  begins
    ? `    begin${r} = max(begin${r}, begins[rowBase + ${r}u]);
    if (begin${r} >= end${r}) { end${r} = 0u; }`
    : ''
}
  }`,
)}
  if (lane == 0u) {
    var first = 0xffffffffu;
    var last = 0u;
${each(range(groupRows), (r) => `    if (end${r} > 0u) { first = min(first, begin${r}); last = max(last, end${r}); }`)}
    extent = vec4<u32>(first, last, ${tree ? 'length[0]' : 'last'}, 0u);
  }
  for (var i = lane; i < ${queries.length * keyVectors}u; i += ${lanes}u) {
    let query = i / ${keyVectors}u;
    let row = rowBase + query / ${groupHeads}u;
    var part = ${key.type}(0.0);
    if (row < u.rows) {
      part = q[(row * ${heads}u + headBase + query % ${groupHeads}u) * ${keyVectors}u + i % ${keyVectors}u];
    }
    queries[i] = part;
  }
  let bounds = workgroupUniformLoad(&extent);
  let last = bounds.y;
  let shared_ = min(bounds.z, last);
  let partial_ = workgroup.x${windowed ? ` + bounds.x / ${partialKeys}u` : ''};
  if (last == 0u || partial_ * ${partialKeys}u >= last) { return; }
${each(
  queries,
  (n) => `  var top${n} = lowest;
  var total${n} = 0.0;
${each(cols, (i) => `  var o${n}_${i} = ${value.type}(0.0);`)}`,
)}
  let firstBlock = max(partial_ * ${partialKeys}u, bounds.x / ${block}u * ${block}u);
  let endBlock = min(partial_ * ${partialKeys}u + ${partialKeys}u, last);
  for (var blockBegin = firstBlock; blockBegin < endBlock; blockBegin += ${block}u) {
    for (var own = lane; own < ${block}u; own += ${lanes}u) {
      let position = blockBegin + own;
${each(queries, (n) => `      var s${n} = ${key.type}(0.0);`)}
      if (position < shared_) ${dot(queries, 'position')}
${tree ? each(range(groupRows), (r) => `      if (position >= shared_ && position < end${r}) ${dot(ofRow(r), treePath(r, 'position'))}`) : ''}
${each(quads, (quad) => `      scores[own * ${quads.length}u + ${quad}u] = vec4<f32>(${quadOf(quad, (n) => `select(lowest, score(${key.sum(`s${n}`)}), ${seen(n)})`, 'lowest')});`)}
    }
    workgroupBarrier();
    for (var quad = 0u; quad < ${quads.length}u; quad += 1u) {
      var highest = vec4<f32>(lowest);
      for (var i = 0u; i < ${block}u; i += ${unroll}u) {
${each(range(unroll), (k) => `        highest = max(highest, scores[(i + ${k}u) * ${quads.length}u + quad]);`)}
      }
      for (var own = lane; own < ${block}u; own += ${lanes}u) {
        let s = scores[own * ${quads.length}u + quad];
        weights[own * ${quads.length}u + quad] = select(vec4<f32>(0.0), exp(s - highest), s > vec4<f32>(-1.0e38));
      }
      if (lane == 0u) { peaks[quad] = highest; }
    }
    workgroupBarrier();
${each(
  queries,
  (n) => `    var sum${n} = 0.0;
${each(cols, (i) => `    var a${n}_${i} = ${value.type}(0.0);`)}`,
)}
    let inShared = min(min(${block}u, last - blockBegin), max(shared_, blockBegin) - blockBegin);
${accumulate(queries, { begin: '0u', end: 'inShared', slot: (i) => `(blockBegin + ${i})` })}
${
  tree
    ? each(
        range(groupRows),
        (r) => `    let inRow${r} = min(${block}u, max(end${r}, blockBegin) - blockBegin);
${accumulate(ofRow(r), { begin: 'inShared', end: `inRow${r}`, slot: (i) => treePath(r, `(blockBegin + ${i})`) })}`,
      )
    : ''
}
${each(quads, (quad) => `    let peaks${quad} = peaks[${quad}u];`)}
${each(queries, (n) =>
  partialBlocks === 1
    ? `    top${n} = ${lane4('peaks', n)};
    total${n} = sum${n};
${each(cols, (i) => `    o${n}_${i} = a${n}_${i};`)}`
    : `    if (blockBegin < end${rowOf(n)} && blockBegin + ${block}u > begin${rowOf(n)}) {
      let peak = max(top${n}, ${lane4('peaks', n)});
      let kept = exp(top${n} - peak);
      let added = exp(${lane4('peaks', n)} - peak);
      top${n} = peak;
      total${n} = fma(total${n}, kept, sum${n} * added);
${each(cols, (i) => `      o${n}_${i} = fma(o${n}_${i}, ${value.type}(kept), a${n}_${i} * added);`)}
    }`,
)}
  }
${each(
  queries,
  (
    n,
  ) => `  if (partial_ * ${partialKeys}u < end${rowOf(n)} && partial_ * ${partialKeys}u + ${partialKeys}u > begin${rowOf(n)}) {
    let slot = (partial_ % u.partials) * u.passRows + rowBase + ${rowOf(n)}u - u.rowBegin;
    let at = (slot * ${heads}u + headBase + ${n % groupHeads}u) * ${c.valueDim + 2}u;
${each(cols, (i) =>
  columnGuard(
    i,
    each(
      range(value.width),
      (k) => `partials[at + (lane + ${i * lanes}u) * ${value.width}u + ${k}u] = ${value.component(`o${n}_${i}`, k)};`,
      ' ',
    ),
  ),
)}
    if (lane == 0u) {
      partials[at + ${c.valueDim}u] = top${n};
      partials[at + ${c.valueDim + 1}u] = total${n};
    }
  }`,
)}
}`;
}
