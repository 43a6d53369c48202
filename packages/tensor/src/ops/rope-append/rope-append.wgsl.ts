import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, readWrite } from '../../kernel/define-kernel.ts';
import { packHalvesWgsl } from '../append/half.ts';
import type { RopeLayout } from '../rope/rope.wgsl.ts';
import { floatWgsl, pairOffsetsWgsl, tableStartWgsl } from '../rope/rope.wgsl.ts';
import { turnWgsl } from '../rope/turn.wgsl.ts';

/** Constants of the kernel. */
export interface RopeAppendConstants {
  readonly lanes: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly rotaryWidth: number;
  readonly attentionFactor: number;
  readonly layout: RopeLayout;
  readonly tables: number;
  readonly baseSpan: number;
}

/** Which parts the kernel has. */
export interface RopeAppendParts {
  readonly normed: boolean;
  readonly bySpan: boolean;
  readonly packed: boolean;
}

const uniforms = {
  rows: 'u32',
  capacity: 'u32',
  /** First elements of q, k and v in their buffer, and of the gains in theirs. */
  queryBegin: 'u32',
  keyBegin: 'u32',
  valueBegin: 'u32',
  queryGain: 'u32',
  keyGain: 'u32',
  epsilon: 'f32',
  gainOffset: 'f32',
} as const;

/**
 * One workgroup a head of q, k or v of one row: norm, rotate, and write, q in place and k and v to the row's slot. Queries, keys and
 * values lie in one buffer, which keeps the kernel within eight storage buffers.
 */
export function ropeAppendKernel(parts: RopeAppendParts) {
  const { normed, bySpan, packed } = parts;
  const bindings: Record<string, Binding> = {
    x: readWrite('f32'),
    positions: read('u32'),
    steps: read('vec2<u32>'),
    slots: read('u32'),
    count: read('u32'),
    keys: readWrite(packed ? 'u32' : 'f32'),
    values: readWrite(packed ? 'u32' : 'f32'),
    ...(normed ? { gains: read('f32') } : {}),
    ...(bySpan ? { spans: read('u32') } : {}),
  };
  return defineKernel({
    name: `rope-append${normed ? '-norm' : ''}${bySpan ? '-by-span' : ''}${packed ? '-packed' : ''}`,
    bindings,
    uniforms,
    wgsl: (c: RopeAppendConstants) => ropeAppendWgsl(c, parts),
  });
}

/**
 * WGSL of a store to a row's slot of a cache. Packed values are pairs, whose halves lie with different lanes, so they meet in workgroup
 * memory first.
 */
const cacheStore = (
  cache: string,
  { kvHeads, dim, lanes, packed }: { kvHeads: number; dim: number; lanes: number; packed: boolean },
) => ({
  target: `let target_ = (slot * ${kvHeads}u + kvHead) * ${packed ? dim / 2 : dim}u;`,
  put: (at: string, value: string) =>
    packed ? `met[${at}] = ${value};` : `if (kept) { ${cache}[target_ + ${at}] = ${value}; }`,
  end: packed
    ? `workgroupBarrier();
    if (kept) {
      for (var i = lane; i < ${dim / 2}u; i += ${lanes}u) {
        ${cache}[target_ + i] = packHalves(vec2<f32>(met[2u * i], met[2u * i + 1u]));
      }
    }`
    : '',
});

/** WGSL that adds up the squares of a head: each lane's own, then the lanes in order. */
const scaleWgsl = ({ headDim, lanes }: RopeAppendConstants) => `
  var own = 0.0;
  for (var i = lane; i < ${headDim}u; i += ${lanes}u) { own = fma(x[begin + i], x[begin + i], own); }
  squares[lane] = own;
  // Reads of the head stand before it, writes of other lanes behind it.
  storageBarrier();
  workgroupBarrier();
  var sums = vec4<f32>(0.0);
  for (var i = 0u; i < ${lanes}u; i += 4u) {
    sums += vec4<f32>(squares[i], squares[i + 1u], squares[i + 2u], squares[i + 3u]);
  }
  let scale = inverseSqrt(((sums.x + sums.y) + (sums.z + sums.w)) / ${headDim}.0 + u.epsilon);
  let gainBegin = select(u.keyGain, u.queryGain, isQuery);`;

// The kernel is so short that the time it takes is that of its loads: what decides where values go is read first, beside them.
function ropeAppendWgsl(c: RopeAppendConstants, { normed, bySpan, packed }: RopeAppendParts): string {
  const { lanes, heads, kvHeads, headDim, valueDim } = c;
  const pairs = c.rotaryWidth / 2;
  const [first, second] = pairOffsetsWgsl[c.layout](pairs);
  const tableStart = bySpan ? tableStartWgsl.bySpan(c) : tableStartWgsl.one();
  const keys = cacheStore('keys', { kvHeads, dim: headDim, lanes, packed });
  const values = cacheStore('values', { kvHeads, dim: valueDim, lanes, packed });
  const element = (at: string) =>
    normed ? `x[begin + ${at}] * scale * (gains[gainBegin + ${at}] + u.gainOffset)` : `x[begin + ${at}]`;
  const put = (at: string, value: string) =>
    `if (isQuery) { x[begin + ${at}] = ${value}; } else { ${keys.put(at, value)} }`;
  return /* wgsl */ `
${turnWgsl}
${packed ? packHalvesWgsl : ''}
${normed ? `var<workgroup> squares: array<f32, ${lanes}>;` : ''}
${packed ? `var<workgroup> met: array<f32, ${Math.max(headDim, valueDim)}>;` : ''}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.y;
  let slot = slots[row];
  let position = positions[row];
  let kept = row < min(count[0], u.rows) && slot < u.capacity;
  if (workgroup.x >= ${heads + kvHeads}u) {
    let kvHead = workgroup.x - ${heads + kvHeads}u;
    let begin = u.valueBegin + (row * ${kvHeads}u + kvHead) * ${valueDim}u;
    ${values.target}
    for (var i = lane; i < ${valueDim}u; i += ${lanes}u) { ${values.put('i', 'x[begin + i]')} }
    ${values.end}
    return;
  }
  let isQuery = workgroup.x < ${heads}u;
  let kvHead = workgroup.x - min(workgroup.x, ${heads}u);
  let begin = select(u.keyBegin + (row * ${kvHeads}u + kvHead) * ${headDim}u, u.queryBegin + (row * ${heads}u + workgroup.x) * ${headDim}u, isQuery);
  ${keys.target}
  ${normed ? scaleWgsl(c) : ''}
  for (var pair = lane; pair < ${pairs}u; pair += ${lanes}u) {
    let cs = cosSin(steps[${tableStart} + pair], position) * ${floatWgsl(c.attentionFactor)};
    let a = ${element(first)};
    let b = ${element(second)};
    let turned = vec2<f32>(fma(a, cs.x, -(b * cs.y)), fma(b, cs.x, a * cs.y));
    ${put(first, 'turned.x')}
    ${put(second, 'turned.y')}
  }
  for (var i = lane + ${c.rotaryWidth}u; i < ${headDim}u; i += ${lanes}u) {
    let passed = ${element('i')};
    ${put('i', 'passed')}
  }
  ${
    packed
      ? `if (!isQuery) {
    ${keys.end}
  }`
      : ''
  }
}`;
}
