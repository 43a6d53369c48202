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

/** WGSL that writes a head from workgroup memory to its slot of a cache. */
const storeWgsl = (
  cache: string,
  { kvHeads, dim, lanes, packed }: { kvHeads: number; dim: number; lanes: number; packed: boolean },
) => {
  const words = packed ? dim / 2 : dim;
  const value = packed ? 'packHalves(vec2<f32>(turned[2u * i], turned[2u * i + 1u]))' : 'turned[i]';
  return `let target_ = (slots[row] * ${kvHeads}u + kvHead) * ${words}u;
      for (var i = lane; i < ${words}u; i += ${lanes}u) { ${cache}[target_ + i] = ${value}; }`;
};

function ropeAppendWgsl(c: RopeAppendConstants, { normed, bySpan, packed }: RopeAppendParts): string {
  const { lanes, heads, kvHeads, headDim, valueDim } = c;
  const pairs = c.rotaryWidth / 2;
  const [first, second] = pairOffsetsWgsl[c.layout](pairs);
  const tableStart = bySpan ? tableStartWgsl.bySpan(c) : tableStartWgsl.one();
  const scale = `var squares = vec4<f32>(0.0);
    for (var i = 0u; i < ${headDim}u; i += 4u) {
      let part = vec4<f32>(head[i], head[i + 1u], head[i + 2u], head[i + 3u]);
      squares = fma(part, part, squares);
    }
    let scale = inverseSqrt(((squares.x + squares.y) + (squares.z + squares.w)) / ${headDim}.0 + u.epsilon);
    let gainBegin = select(u.keyGain, u.queryGain, isQuery);`;
  const element = (at: string) =>
    normed ? `head[${at}] * scale * (gains[gainBegin + ${at}] + u.gainOffset)` : `head[${at}]`;
  const longest = Math.max(headDim, valueDim);
  return /* wgsl */ `
${turnWgsl}
${packed ? packHalvesWgsl : ''}
// Past the head's end lie zeros, which add nothing to its sum of squares.
var<workgroup> head: array<f32, ${headDim + 3}>;
var<workgroup> turned: array<f32, ${longest}>;
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.y;
  let kept = row < min(count[0], u.rows) && slots[row] < u.capacity;
  if (workgroup.x >= ${heads + kvHeads}u) {
    let kvHead = workgroup.x - ${heads + kvHeads}u;
    let begin = u.valueBegin + (row * ${kvHeads}u + kvHead) * ${valueDim}u;
    for (var i = lane; i < ${valueDim}u; i += ${lanes}u) { turned[i] = x[begin + i]; }
    workgroupBarrier();
    if (kept) {
      ${storeWgsl('values', { kvHeads, dim: valueDim, lanes, packed })}
    }
    return;
  }
  let isQuery = workgroup.x < ${heads}u;
  let kvHead = workgroup.x - min(workgroup.x, ${heads}u);
  let begin = select(u.keyBegin + (row * ${kvHeads}u + kvHead) * ${headDim}u, u.queryBegin + (row * ${heads}u + workgroup.x) * ${headDim}u, isQuery);
  for (var i = lane; i < ${headDim}u; i += ${lanes}u) { head[i] = x[begin + i]; }
  workgroupBarrier();
  {
    ${normed ? scale : ''}
    for (var pair = lane; pair < ${pairs}u; pair += ${lanes}u) {
      let cs = cosSin(steps[${tableStart} + pair], positions[row]) * ${floatWgsl(c.attentionFactor)};
      let a = ${element(first)};
      let b = ${element(second)};
      turned[${first}] = fma(a, cs.x, -(b * cs.y));
      turned[${second}] = fma(b, cs.x, a * cs.y);
    }
    for (var i = lane + ${c.rotaryWidth}u; i < ${headDim}u; i += ${lanes}u) { turned[i] = ${element('i')}; }
  }
  workgroupBarrier();
  if (isQuery) {
    for (var i = lane; i < ${headDim}u; i += ${lanes}u) { x[begin + i] = turned[i]; }
  } else if (kept) {
      ${storeWgsl('keys', { kvHeads, dim: headDim, lanes, packed })}
  }
}`;
}
