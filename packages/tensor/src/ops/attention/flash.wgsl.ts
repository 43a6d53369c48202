import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import type { ElementAccess } from './elements.ts';
import type { ScoreOptions } from './score.wgsl.ts';
import { scoreWgsl } from './score.wgsl.ts';

/** Queries of a tile, keys of a tile, invocations of a workgroup, and how many elements of q and k are multiplied between barriers. */
export const flashTile = { queries: 32, keys: 64, lanes: 128, slice: 16 } as const;

/** Constants of the kernel. */
export interface FlashConstants {
  readonly heads: number;
  readonly kvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly window: number | undefined;
  /** Query heads of a tile, of one kv head, and rows of a tile; their product is at most the tile's queries. */
  readonly groupHeads: number;
  readonly groupRows: number;
  readonly score: ScoreOptions;
}

/** What the kernel reads. */
export interface FlashParts {
  /** Access to one element of a head of the cache. */
  readonly element: Pick<ElementAccess, 'binding'> & { readonly load: (name: string, index: string) => string };
  readonly begins: boolean;
  readonly sinks: boolean;
}

const uniforms = { rows: 'u32', capacity: 'u32', sinkBegin: 'u32' } as const;

/**
 * Softmax attention of many rows of a chain: a workgroup keeps 32 queries of one kv head and walks the keys in tiles of 64 at fixed
 * positions, with running maxima and sums (Dao et al. 2022, arXiv:2205.14135). A lane holds 4 queries by 4 keys of the scores, and 4
 * queries by a sixteenth of the columns of the output.
 */
export function flashKernel(parts: FlashParts) {
  const bindings: Record<string, Binding> = {
    q: read('f32'),
    keys: read(parts.element.binding),
    values: read(parts.element.binding),
    depths: read('u32'),
    count: read('u32'),
    ...(parts.begins ? { begins: read('u32') } : {}),
    ...(parts.sinks ? { sinks: read('f32') } : {}),
    y: write('f32'),
  };
  return defineKernel({
    name: `attention-flash${parts.begins ? '-begins' : ''}${parts.sinks ? '-sinks' : ''}-${parts.element.binding}`,
    bindings,
    uniforms,
    wgsl: (c: FlashConstants) => flashWgsl(c, parts),
  });
}

/** One element of an f32 cache, or of a packed one. */
export const flashElements = {
  f32: { binding: 'f32', load: (name: string, index: string) => `${name}[${index}]` },
  packed: { binding: 'u32', load: (name: string, index: string) => `unpack2x16float(${name}[(${index}) >> 1u])[(${index}) & 1u]` },
} as const;

const four = [0, 1, 2, 3] as const;
const axes = ['x', 'y', 'z', 'w'] as const;
const each = (items: readonly number[], text: (i: number) => string) => items.map(text).join('\n');
const vec4 = (text: (i: number) => string) => `vec4<f32>(${four.map(text).join(', ')})`;

function flashWgsl(c: FlashConstants, { element, begins, sinks }: FlashParts): string {
  const { heads, kvHeads, keyDim, valueDim, groupHeads, groupRows } = c;
  const { queries: tileQueries, keys: tileKeys, lanes, slice } = flashTile;
  const queries = groupHeads * groupRows;
  const chunks = heads / kvHeads / groupHeads;
  const valueQuads = Math.ceil(valueDim / 4);
  const columns = Array.from({ length: Math.ceil(valueQuads / 16) }, (_, i) => i);
  const tileQuads = (tileKeys / 4) * slice;
  // Values of this many keys fit where the slice of keys lay: a power of two, so that whole steps make a tile.
  const valueKeys = Math.min(tileKeys, Math.max(4, 2 ** Math.floor(Math.log2(tileQuads / valueQuads))));
  const window = c.window === undefined ? '0u' : `last - min(last, ${c.window}u)`;
  const inHead = (i: number, text: string) => ((i + 1) * 16 <= valueQuads ? text : `if (lane % 16u + ${i * 16}u < ${valueQuads}u) { ${text} }`);
  return /* wgsl */ `
const lowest = -3.0e38;
var<workgroup> queryTile: array<vec4<f32>, ${(tileQueries / 4) * slice}>;
var<workgroup> tile: array<vec4<f32>, ${Math.max(tileQuads, 4 * valueQuads)}>;
var<workgroup> scores: array<vec4<f32>, ${(tileQueries * tileKeys) / 4}>;
var<workgroup> extent: vec2<u32>;
${scoreWgsl(c.score)}
struct Query { row: u32, head: u32, first: u32, last: u32 }
fn queryOf(index: u32, rowBase: u32, headBase: u32) -> Query {
  let row = rowBase + index / ${groupHeads}u;
  var last = 0u;
  var first = 0u;
  if (index < ${queries}u && row < min(count[0], u.rows)) {
    last = min(depths[row] + 1u, u.capacity);
    first = ${begins ? `max(begins[row], ${window})` : window};
    if (first >= last) { last = 0u; }
  }
  return Query(row, headBase + index % ${groupHeads}u, first, last);
}
fn keyElement(position: u32, kvHead: u32, i: u32) -> f32 {
  let at = (min(position, u.capacity - 1u) * ${kvHeads}u + kvHead) * ${keyDim}u + min(i, ${keyDim - 1}u);
  return ${element.load('keys', 'at')};
}
fn valueElement(position: u32, kvHead: u32, i: u32) -> f32 {
  let at = (min(position, u.capacity - 1u) * ${kvHeads}u + kvHead) * ${valueDim}u + min(i, ${valueDim - 1}u);
  return ${element.load('values', 'at')};
}
fn queryElement(query: Query, i: u32) -> f32 {
  if (query.last == 0u || i >= ${keyDim}u) { return 0.0; }
  return q[(query.row * ${heads}u + query.head) * ${keyDim}u + i];
}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let rowBase = workgroup.x * ${groupRows}u;
  let kvHead = workgroup.y / ${chunks}u;
  let headBase = kvHead * ${heads / kvHeads}u + (workgroup.y % ${chunks}u) * ${groupHeads}u;
  let block = lane / 16u;
${each(four, (r) => `  let query${r} = queryOf(block * 4u + ${r}u, rowBase, headBase);`)}
  if (lane == 0u) {
    var first = 0xffffffffu;
    var last = 0u;
    for (var i = 0u; i < ${groupRows}u; i += 1u) {
      let query = queryOf(i * ${groupHeads}u, rowBase, headBase);
      if (query.last > 0u) { first = min(first, query.first); last = max(last, query.last); }
    }
    extent = vec2<u32>(first, last);
  }
  let bounds = workgroupUniformLoad(&extent);
${each(four, (r) => `  var top${r} = lowest;
  var total${r} = vec4<f32>(0.0);
${each(columns, (i) => `  var o${r}_${i} = vec4<f32>(0.0);`)}`)}
  for (var begin = bounds.x / ${tileKeys}u * ${tileKeys}u; begin < bounds.y; begin += ${tileKeys}u) {
${each(four, (r) => `    var s${r} = vec4<f32>(0.0);`)}
    for (var e = 0u; e < ${keyDim}u; e += ${slice}u) {
      let own = e + lane % ${slice}u;
      for (var i = lane / ${slice}u; i < ${tileKeys / 4}u; i += ${lanes / slice}u) {
        let position = begin + i * 4u;
        tile[(lane % ${slice}u) * ${tileKeys / 4}u + i] = ${vec4((k) => `keyElement(position + ${k}u, kvHead, own)`)};
      }
      queryTile[(lane % ${slice}u) * ${tileQueries / 4}u + lane / ${slice}u] = ${vec4((r) => `queryElement(query${r}, own)`)};
      workgroupBarrier();
      for (var i = 0u; i < ${slice}u; i += 1u) {
        let a = queryTile[i * ${tileQueries / 4}u + block];
        let b = tile[i * ${tileKeys / 4}u + lane % 16u];
${each(four, (r) => `        s${r} = fma(vec4<f32>(a.${axes[r]}), b, s${r});`)}
      }
      workgroupBarrier();
    }
    let positions = vec4<u32>(begin + (lane % 16u) * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
${each(four, (r) => `    {
      let seen = (positions >= vec4<u32>(query${r}.first)) & (positions < vec4<u32>(query${r}.last));
      scores[(block * 4u + ${r}u) * ${tileKeys / 4}u + lane % 16u] = select(vec4<f32>(lowest), ${vec4((k) => `score(s${r}.${axes[k]})`)}, seen);
    }`)}
    workgroupBarrier();
${each(four, (r) => `    var peaks${r} = vec4<f32>(top${r});
    for (var i = 0u; i < ${tileKeys / 4}u; i += 1u) { peaks${r} = max(peaks${r}, scores[(block * 4u + ${r}u) * ${tileKeys / 4}u + i]); }
    let peak${r} = max(max(peaks${r}.x, peaks${r}.y), max(peaks${r}.z, peaks${r}.w));
    let kept${r} = exp(top${r} - peak${r});
    top${r} = peak${r};
    total${r} *= kept${r};
${each(columns, (i) => `    o${r}_${i} *= kept${r};`)}
    let own${r} = scores[(block * 4u + ${r}u) * ${tileKeys / 4}u + lane % 16u];
    let weight${r} = select(vec4<f32>(0.0), exp(own${r} - peak${r}), own${r} > vec4<f32>(-1.0e38));`)}
    workgroupBarrier();
${each(four, (r) => `    scores[(block * 4u + ${r}u) * ${tileKeys / 4}u + lane % 16u] = weight${r};`)}
    for (var k = 0u; k < ${tileKeys}u; k += ${valueKeys}u) {
      for (var i = lane; i < ${valueKeys * valueQuads}u; i += ${lanes}u) {
        let position = begin + k + i / ${valueQuads}u;
        let column = (i % ${valueQuads}u) * 4u;
        var part = vec4<f32>(0.0);
        if (position < bounds.y) { part = ${vec4((j) => `valueElement(position, kvHead, column + ${j}u)`)}; }
        tile[i] = part;
      }
      workgroupBarrier();
      for (var i = 0u; i < ${valueKeys}u; i += 4u) {
${each(four, (r) => `        let w${r} = scores[(block * 4u + ${r}u) * ${tileKeys / 4}u + (k + i) / 4u];
        total${r} += w${r};`)}
${each(columns, (j) => inHead(j, each(four, (n) => `        { let v = tile[(i + ${n}u) * ${valueQuads}u + lane % 16u + ${j * 16}u];
${each(four, (r) => `          o${r}_${j} = fma(vec4<f32>(w${r}.${axes[n]}), v, o${r}_${j});`)} }`)))}
      }
      workgroupBarrier();
    }
  }
${each(four, (r) => `  if (block * 4u + ${r}u < ${queries}u && query${r}.row < u.rows) {
    var factor = 0.0;
    if (query${r}.last > 0u) {
      let total = (total${r}.x + total${r}.y) + (total${r}.z + total${r}.w);
${sinks ? `      let sink = sinks[u.sinkBegin + query${r}.head];
      let peak = max(top${r}, sink);
      let kept = exp(top${r} - peak);
      factor = kept / fma(total, kept, exp(sink - peak));` : '      factor = 1.0 / total;'}
    }
    let at = (query${r}.row * ${heads}u + query${r}.head) * ${valueDim}u + (lane % 16u) * 4u;
${each(columns, (i) => each(four, (k) => `    if ((lane % 16u) * 4u + ${i * 64 + k}u < ${valueDim}u) { y[at + ${i * 64 + k}u] = o${r}_${i}.${axes[k]} * factor; }`))}
  }`)}
}`;
}
