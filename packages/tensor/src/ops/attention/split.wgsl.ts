import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import type { ElementAccess } from './elements.ts';
import type { AttentionFamily } from './family.ts';
import { scoreWgsl } from './score.wgsl.ts';
import type { ScoreOptions } from './score.wgsl.ts';

/** Constants of the partial kernel. */
export interface SplitConstants extends AttentionFamily {
  readonly heads: number;
  readonly kvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly window: number | undefined;
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
  const { lanes, block, kvHeads, heads, groupHeads, groupRows, partialBlocks } = c;
  const keyVectors = c.keyDim / key.width;
  const valueVectors = c.valueDim / value.width;
  const columns = Math.ceil(valueVectors / lanes);
  const chunks = heads / kvHeads / groupHeads;
  const queries = range(groupRows * groupHeads);
  const rowOf = (query: number) => Math.floor(query / groupHeads);
  const ofRow = (row: number) => queries.filter((query) => rowOf(query) === row);
  const partialKeys = block * partialBlocks;
  const windowed = c.window !== undefined;
  const each = (items: readonly number[], text: (i: number) => string, separator = '\n') => items.map(text).join(separator);
  const cols = range(columns);
  const columnGuard = (i: number, text: string) =>
    (i + 1) * lanes <= valueVectors ? text : `if (lane + ${i * lanes}u < ${valueVectors}u) { ${text} }`;

  const dot = (of: readonly number[], slot: string) => `{
        let at = (${slot} * ${kvHeads}u + kvHead) * ${keyVectors}u;
        for (var i = 0u; i < ${keyVectors}u; i += 1u) {
          let part = ${key.load('keys', 'at + i')};
${each(of, (n) => `          s${n} = fma(part, queries[${n * keyVectors}u + i], s${n});`)}
        }
      }`;
  const accumulate = (of: readonly number[], slot: string, at: string) => `{
        let from_ = (${slot} * ${kvHeads}u + kvHead) * ${valueVectors}u + lane;
${each(cols, (i) => `        var v${i} = ${value.type}(0.0);\n        ${columnGuard(i, `v${i} = ${value.load('values', `from_ + ${i * lanes}u`)};`)}`)}
${each(of, (n) => `        let w${n} = weights[${n * block}u + ${at}];
        sum${n} += w${n};
${each(cols, (i) => `        a${n}_${i} = fma(${value.type}(w${n}), v${i}, a${n}_${i});`)}`)}
      }`;
  const treePath = (row: number, position: string) =>
    `path[(rowBase + ${row}u) * u.maxDepth + ${position} - shared_]`;

  return /* wgsl */ `
const lowest = -3.0e38;
var<workgroup> queries: array<${key.type}, ${queries.length * keyVectors}>;
var<workgroup> scores: array<f32, ${queries.length * block}>;
var<workgroup> weights: array<f32, ${queries.length * block}>;
var<workgroup> peaks: array<f32, ${queries.length}>;
var<workgroup> extent: vec4<u32>;
${scoreWgsl(c.score)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let rowBase = u.rowBegin + workgroup.z * ${groupRows}u;
  let kvHead = workgroup.y / ${chunks}u;
  let headBase = kvHead * ${heads / kvHeads}u + (workgroup.y % ${chunks}u) * ${groupHeads}u;
  let used = min(count[0], u.rows);
${each(range(groupRows), (r) => `  var begin${r} = 0u;
  var end${r} = 0u;
  if (rowBase + ${r}u < used) {
    end${r} = min(depths[rowBase + ${r}u] + 1u, u.capacity);
    begin${r} = ${windowed ? `end${r} - min(end${r}, ${c.window}u)` : '0u'};
${begins ? `    begin${r} = max(begin${r}, begins[rowBase + ${r}u]);
    if (begin${r} >= end${r}) { end${r} = 0u; }` : ''}
  }`)}
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
${each(queries, (n) => `  var top${n} = lowest;
  var total${n} = 0.0;
${each(cols, (i) => `  var o${n}_${i} = ${value.type}(0.0);`)}`)}
  let firstBlock = max(partial_ * ${partialKeys}u, bounds.x / ${block}u * ${block}u);
  let endBlock = min(partial_ * ${partialKeys}u + ${partialKeys}u, last);
  for (var blockBegin = firstBlock; blockBegin < endBlock; blockBegin += ${block}u) {
    for (var own = lane; own < ${block}u; own += ${lanes}u) {
      let position = blockBegin + own;
${each(queries, (n) => `      var s${n} = ${key.type}(0.0);`)}
      if (position < shared_) ${dot(queries, 'position')}
${tree ? each(range(groupRows), (r) => `      if (position >= shared_ && position < end${r}) ${dot(ofRow(r), treePath(r, 'position'))}`) : ''}
${each(queries, (n) => `      scores[${n * block}u + own] = select(lowest, score(${key.sum(`s${n}`)}), position >= begin${rowOf(n)} && position < end${rowOf(n)});`)}
    }
    workgroupBarrier();
    for (var n = 0u; n < ${queries.length}u; n += 1u) {
      var peak = lowest;
      for (var i = 0u; i < ${block}u; i += 1u) { peak = max(peak, scores[n * ${block}u + i]); }
      for (var own = lane; own < ${block}u; own += ${lanes}u) {
        let s = scores[n * ${block}u + own];
        weights[n * ${block}u + own] = select(0.0, exp(s - peak), s > -1.0e38);
      }
      if (lane == 0u) { peaks[n] = peak; }
    }
    workgroupBarrier();
${each(queries, (n) => `    var sum${n} = 0.0;
${each(cols, (i) => `    var a${n}_${i} = ${value.type}(0.0);`)}`)}
    let shortBlock = min(${block}u, last - blockBegin);
    let inShared = min(shortBlock, max(shared_, blockBegin) - blockBegin);
    for (var i = 0u; i < inShared; i += 1u) ${accumulate(queries, '(blockBegin + i)', 'i')}
${tree ? `    for (var i = inShared; i < shortBlock; i += 1u) {
      let position = blockBegin + i;
${each(range(groupRows), (r) => `      if (position < end${r}) ${accumulate(ofRow(r), treePath(r, 'position'), 'i')}`)}
    }` : ''}
${each(queries, (n) => partialBlocks === 1
    ? `    top${n} = peaks[${n}];
    total${n} = sum${n};
${each(cols, (i) => `    o${n}_${i} = a${n}_${i};`)}`
    : `    if (blockBegin < end${rowOf(n)} && blockBegin + ${block}u > begin${rowOf(n)}) {
      let peak = max(top${n}, peaks[${n}]);
      let kept = exp(top${n} - peak);
      let added = exp(peaks[${n}] - peak);
      top${n} = peak;
      total${n} = fma(total${n}, kept, sum${n} * added);
${each(cols, (i) => `      o${n}_${i} = fma(o${n}_${i}, ${value.type}(kept), a${n}_${i} * added);`)}
    }`)}
  }
${each(queries, (n) => `  if (partial_ * ${partialKeys}u < end${rowOf(n)} && partial_ * ${partialKeys}u + ${partialKeys}u > begin${rowOf(n)}) {
    let slot = (partial_ % u.partials) * u.passRows + rowBase + ${rowOf(n)}u - u.rowBegin;
    let at = (slot * ${heads}u + headBase + ${n % groupHeads}u) * ${c.valueDim + 2}u;
${each(cols, (i) => columnGuard(i, each(range(value.width), (k) => `partials[at + (lane + ${i * lanes}u) * ${value.width}u + ${k}u] = ${value.component(`o${n}_${i}`, k)};`, ' ')))}
    if (lane == 0u) {
      partials[at + ${c.valueDim}u] = top${n};
      partials[at + ${c.valueDim + 1}u] = total${n};
    }
  }`)}
}`;
}
