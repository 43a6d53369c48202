import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { elementAccess } from './elements.ts';
import type { ScoreOptions } from './score.wgsl.ts';
import { scoreWgsl } from './score.wgsl.ts';
import { slotWgsl } from './slot.wgsl.ts';

/** Queries of a tile, keys of a tile, invocations of a workgroup, and how many elements of q and k are multiplied between barriers. */
export const flashTile = { queries: 32, keys: 64, lanes: 128, slice: 16 } as const;

/** Constants of the kernel. */
export interface FlashConstants {
  readonly heads: number;
  readonly kvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly window: number | undefined;
  /** Slots of a ring of positions; undefined where each has its own. */
  readonly ring: number | undefined;
  /** Query heads of a tile, of one kv head, and rows of a tile; their product is at most the tile's queries. */
  readonly groupHeads: number;
  readonly groupRows: number;
  readonly score: ScoreOptions;
}

/** What the kernel reads. */
export interface FlashParts {
  /** Access to four elements of a query, of a key and of a value head. */
  readonly query: QuadAccess;
  readonly key: QuadAccess;
  readonly value: QuadAccess;
  readonly begins: boolean;
  readonly sinks: boolean;
}

/** Four consecutive elements of rows that a binding holds. */
export interface QuadAccess {
  /** Element type of the binding. */
  readonly binding: string;
  /** WGSL of a function `name(row, i) -> vec4<f32>`: elements from `i`, a multiple of 4, of row `row`; zeros past the end. */
  readonly wgsl: (name: string, from_: string) => string;
}

/** Access to rows of `dim` elements of f32 or packed f16. */
export function quadAccess(dim: number, packed: boolean): QuadAccess {
  const access = elementAccess(dim, { packed });
  if (access.width === 4) {
    return {
      binding: access.binding,
      wgsl: (name, from_) => `fn ${name}(row: u32, i: u32) -> vec4<f32> {
  if (i >= ${dim}u) { return vec4<f32>(0.0); }
  return ${access.load(from_, `row * ${dim / 4}u + i / 4u`)};
}`,
    };
  }
  const one = packed
    ? (at: string, from_: string) => `unpack2x16float(${from_}[(${at}) >> 1u])[(${at}) & 1u]`
    : (at: string, from_: string) => `${from_}[${at}]`;
  const element = (k: number, from_: string) =>
    `select(0.0, ${one(`row * ${dim}u + min(i + ${k}u, ${dim - 1}u)`, from_)}, i + ${k}u < ${dim}u)`;
  return {
    binding: packed ? 'u32' : 'f32',
    wgsl: (name, from_) => `fn ${name}(row: u32, i: u32) -> vec4<f32> { return ${vec4((k) => element(k, from_))}; }`,
  };
}

const uniforms = { rows: 'u32', capacity: 'u32', sinkBegin: 'u32' } as const;

/**
 * Softmax attention of many rows of a chain: a workgroup keeps 32 queries of one kv head and walks the keys in tiles of 64 at fixed
 * positions, with running maxima and sums (Dao et al. 2022, arXiv:2205.14135). A lane holds 4 queries by 4 keys of the scores, and 4
 * queries by a sixteenth of the columns of the output.
 */
export function flashKernel(parts: FlashParts) {
  const bindings: Record<string, Binding> = {
    q: read(parts.query.binding),
    keys: read(parts.key.binding),
    values: read(parts.value.binding),
    depths: read('u32'),
    count: read('u32'),
    ...(parts.begins ? { begins: read('u32') } : {}),
    ...(parts.sinks ? { sinks: read('f32') } : {}),
    y: write('f32'),
  };
  return defineKernel({
    name: `attention-flash${parts.begins ? '-begins' : ''}${parts.sinks ? '-sinks' : ''}-${parts.key.binding}-${parts.value.binding}`,
    bindings,
    uniforms,
    wgsl: (c: FlashConstants) => flashWgsl(c, parts),
  });
}

const four = [0, 1, 2, 3] as const;
const axes = ['x', 'y', 'z', 'w'] as const;
const each = (items: readonly number[], text: (i: number) => string) => items.map(text).join('\n');
const vec4 = (text: (i: number) => string) => `vec4<f32>(${four.map(text).join(', ')})`;

function flashWgsl(c: FlashConstants, { query, key, value, begins, sinks }: FlashParts): string {
  const { heads, kvHeads, keyDim, valueDim, groupHeads, groupRows } = c;
  const { queries: tileQueries, keys: tileKeys, lanes, slice } = flashTile;
  const queries = groupHeads * groupRows;
  const chunks = heads / kvHeads / groupHeads;
  const valueQuads = Math.ceil(valueDim / 4);
  const columns = Array.from({ length: Math.ceil(valueQuads / 16) }, (_, i) => i);
  const sliceQuads = slice / 4;
  // One quad more than it holds, so that rows next to each other begin in different banks.
  const stride = sliceQuads + 1;
  const tileQuads = Math.max(tileKeys * stride, 4 * valueQuads);
  // Values of this many steps of four keys fit where the slice of keys lay: a power of two, so that whole loads make a tile.
  const steps = Math.min(16, 2 ** Math.floor(Math.log2(tileQuads / valueQuads / 4)));
  const window = c.window === undefined ? '0u' : `last - min(last, ${c.window}u)`;
  const inHead = (i: number, text: string) =>
    (i + 1) * 16 <= valueQuads ? text : `if (column + ${i * 16}u < ${valueQuads}u) { ${text} }`;
  return /* wgsl */ `
const lowest = -3.0e38;
var<workgroup> queryTile: array<vec4<f32>, ${tileQueries * stride}>;
var<workgroup> tile: array<vec4<f32>, ${tileQuads}>;
var<workgroup> scores: array<vec4<f32>, ${(tileQueries * tileKeys) / 4}>;
var<workgroup> extent: vec2<u32>;
${scoreWgsl(c.score)}
${query.wgsl('queryQuad', 'q')}
${key.wgsl('keyQuad', 'keys')}
${value.wgsl('valueQuad', 'values')}
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
fn isSeen(positions: vec4<u32>, query: Query) -> vec4<bool> {
  return (positions >= vec4<u32>(query.first)) & (positions < vec4<u32>(query.last));
}
fn total(parts: vec4<f32>) -> f32 { return (parts.x + parts.y) + (parts.z + parts.w); }
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let rowBase = workgroup.x * ${groupRows}u;
  let kvHead = workgroup.y / ${chunks}u;
  let headBase = kvHead * ${heads / kvHeads}u + (workgroup.y % ${chunks}u) * ${groupHeads}u;
  let block = lane / 16u;
  let column = lane % 16u;
${each(four, (r) => `  let query${r} = queryOf(block * 4u + ${r}u, rowBase, headBase);`)}
  let loaded = queryOf(lane / ${sliceQuads}u, rowBase, headBase);
  let loadedBegin = loaded.row * ${heads}u + loaded.head;
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
${each(
  four,
  (r) => `  var top${r} = lowest;
  var sum${r} = vec4<f32>(0.0);
${each(columns, (i) => `  var o${r}_${i} = vec4<f32>(0.0);`)}`,
)}
  for (var begin = bounds.x / ${tileKeys}u * ${tileKeys}u; begin < bounds.y; begin += ${tileKeys}u) {
${each(four, (r) => each(four, (k) => `    var s${r}${k} = vec4<f32>(0.0);`))}
    for (var e = 0u; e < ${keyDim}u; e += ${slice}u) {
      let own = e + (lane % ${sliceQuads}u) * 4u;
      for (var i = lane / ${sliceQuads}u; i < ${tileKeys}u; i += ${lanes / sliceQuads}u) {
        tile[i * ${stride}u + lane % ${sliceQuads}u] = keyQuad(${slotWgsl('min(begin + i, bounds.y - 1u)', c.ring)} * ${kvHeads}u + kvHead, own);
      }
      var part = vec4<f32>(0.0);
      if (loaded.last > 0u) { part = queryQuad(loadedBegin, own); }
      queryTile[lane / ${sliceQuads}u * ${stride}u + lane % ${sliceQuads}u] = part;
      workgroupBarrier();
      for (var i = 0u; i < ${sliceQuads}u; i += 1u) {
${each(four, (r) => `        let a${r} = queryTile[(block * 4u + ${r}u) * ${stride}u + i];`)}
${each(four, (k) => `        let b${k} = tile[(column + ${16 * k}u) * ${stride}u + i];`)}
${each(four, (r) => each(four, (k) => `        s${r}${k} = fma(a${r}, b${k}, s${r}${k});`))}
      }
      workgroupBarrier();
    }
    let positions = vec4<u32>(begin + column) + vec4<u32>(0u, 16u, 32u, 48u);
${each(
  four,
  (
    r,
  ) => `    let own${r} = select(vec4<f32>(lowest), ${vec4((k) => `score(total(s${r}${k}))`)}, isSeen(positions, query${r}));
    scores[(block * 4u + ${r}u) * 16u + column] = own${r};`,
)}
    workgroupBarrier();
${each(
  four,
  (r) => `    var highest${r} = vec4<f32>(top${r});
    for (var i = 0u; i < 16u; i += 1u) { highest${r} = max(highest${r}, scores[(block * 4u + ${r}u) * 16u + i]); }
    let peak${r} = max(max(highest${r}.x, highest${r}.y), max(highest${r}.z, highest${r}.w));
    let kept${r} = exp(top${r} - peak${r});
    top${r} = peak${r};
    sum${r} *= kept${r};
${each(columns, (i) => `    o${r}_${i} *= kept${r};`)}`,
)}
    workgroupBarrier();
${each(four, (r) => `    scores[(block * 4u + ${r}u) * 16u + column] = select(vec4<f32>(0.0), exp(own${r} - peak${r}), own${r} > vec4<f32>(-1.0e38));`)}
    for (var step = 0u; step < 16u; step += ${steps}u) {
      for (var i = lane; i < ${4 * steps * valueQuads}u; i += ${lanes}u) {
        let key = i / ${valueQuads}u;
        let position = begin + step + key / 4u + (key % 4u) * 16u;
        tile[i] = valueQuad(${slotWgsl('min(position, bounds.y - 1u)', c.ring)} * ${kvHeads}u + kvHead, (i % ${valueQuads}u) * 4u);
      }
      workgroupBarrier();
      for (var i = 0u; i < ${steps}u; i += 1u) {
${each(
  four,
  (r) => `        let w${r} = scores[(block * 4u + ${r}u) * 16u + step + i];
        sum${r} += w${r};`,
)}
${each(columns, (j) =>
  inHead(
    j,
    each(
      four,
      (n) => `        let v${j}${n} = tile[(i * 4u + ${n}u) * ${valueQuads}u + column + ${j * 16}u];
${each(four, (r) => `        o${r}_${j} = fma(vec4<f32>(w${r}.${axes[n]}), v${j}${n}, o${r}_${j});`)}`,
    ),
  ),
)}
      }
      workgroupBarrier();
    }
  }
${each(
  four,
  (r) => `  if (block * 4u + ${r}u < ${queries}u && query${r}.row < u.rows) {
    var factor = 0.0;
    if (query${r}.last > 0u) {
      let divisor = total(sum${r});
${
  sinks
    ? `      let sink = sinks[u.sinkBegin + query${r}.head];
      let peak = max(top${r}, sink);
      let kept = exp(top${r} - peak);
      factor = kept / fma(divisor, kept, exp(sink - peak));`
    : '      factor = 1.0 / divisor;'
}
    }
    let at = (query${r}.row * ${heads}u + query${r}.head) * ${valueDim}u + column * 4u;
${each(columns, (i) => each(four, (k) => `    if (column * 4u + ${i * 64 + k}u < ${valueDim}u) { y[at + ${i * 64 + k}u] = o${r}_${i}.${axes[k]} * factor; }`))}
  }`,
)}
}`;
}
