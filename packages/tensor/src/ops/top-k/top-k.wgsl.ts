import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { betterPairWgsl, orderKeyWgsl } from '../../wgsl/order.ts';

/** Compile-time constants: entries kept, and the lanes that share a list. */
interface SelectConstants {
  readonly k: number;
  readonly lanes: number;
}

/**
 * The best k of a list of (key, index) pairs, which `entry(i)` reads: radix selection, eight bits a round, first of the keys, then,
 * where more entries than wanted share the last key, of the inverted indices. Most lists need three or four rounds. Counts are
 * exact, so the result does not depend on the order in which lanes arrive. Pairs with key 0 are not there.
 */
const selectWgsl = ({ k, lanes }: SelectConstants) => /* wgsl */ `
${orderKeyWgsl}
struct Choice { keyMask: u32, keyPrefix: u32, indexMask: u32, indexPrefix: u32, wanted: u32, done: u32 }
var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> sums: array<u32, 16>;
var<workgroup> choice: Choice;
var<workgroup> pool: array<vec2<u32>, ${k}>;
var<workgroup> taken: atomic<u32>;

fn candidate(e: vec2<u32>, c: Choice) -> bool {
  return e.x != 0u && (e.x & c.keyMask) == c.keyPrefix && (~e.y & c.indexMask) == c.indexPrefix;
}
fn chosen(e: vec2<u32>, c: Choice) -> bool {
  let key = e.x & c.keyMask;
  return e.x != 0u && (key > c.keyPrefix || (key == c.keyPrefix && (~e.y & c.indexMask) >= c.indexPrefix));
}
fn narrow(current: Choice, round: u32) -> Choice {
  var next = current;
  var above = 0u;
  var part = 15u;
  while (part > 0u && above + sums[part] < current.wanted) { above += sums[part]; part -= 1u; }
  var bin = part * 16u + 15u;
  var inside = atomicLoad(&histogram[bin]);
  while (bin > part * 16u && above + inside < current.wanted) {
    above += inside;
    bin -= 1u;
    inside = atomicLoad(&histogram[bin]);
  }
  next.wanted = current.wanted - above;
  next.done = select(0u, 1u, inside <= next.wanted);
  let shift = 24u - 8u * (round % 4u);
  if (round < 4u) {
    next.keyMask |= 255u << shift;
    next.keyPrefix |= bin << shift;
  } else {
    next.indexMask |= 255u << shift;
    next.indexPrefix |= bin << shift;
  }
  return next;
}
fn selectInto(lane: u32, length: u32) {
  if (lane == 0u) { choice = Choice(0u, 0u, 0u, 0u, ${k}u, 0u); }
  for (var j = lane; j < ${k}u; j += ${lanes}u) { pool[j] = vec2<u32>(0u, 0xffffffffu); }
  for (var round = 0u; round < 8u; round++) {
    let current = workgroupUniformLoad(&choice);
    if (current.done != 0u) { break; }
    for (var bin = lane; bin < 256u; bin += ${lanes}u) { atomicStore(&histogram[bin], 0u); }
    workgroupBarrier();
    let shift = 24u - 8u * (round % 4u);
    for (var i = lane; i < length; i += ${lanes}u) {
      let e = entry(i);
      if (candidate(e, current)) { atomicAdd(&histogram[(select(~e.y, e.x, round < 4u) >> shift) & 255u], 1u); }
    }
    workgroupBarrier();
    for (var part = lane; part < 16u; part += ${lanes}u) {
      var sum = 0u;
      for (var bin = 0u; bin < 16u; bin++) { sum += atomicLoad(&histogram[part * 16u + bin]); }
      sums[part] = sum;
    }
    workgroupBarrier();
    if (lane == 0u) { choice = narrow(current, round); }
  }
  let final_ = workgroupUniformLoad(&choice);
  for (var i = lane; i < length; i += ${lanes}u) {
    let e = entry(i);
    if (chosen(e, final_)) {
      let slot = atomicAdd(&taken, 1u);
      if (slot < ${k}u) { pool[slot] = e; }
    }
  }
  workgroupBarrier();
}`;

const entryOfRow =
  'var<private> first: u32;\nvar<private> rowBegin: u32;\nfn entry(i: u32) -> vec2<u32> { return vec2<u32>(orderKey(x[rowBegin + first + i]), first + i); }';
const entryOfParts = 'var<private> partsBegin: u32;\nfn entry(i: u32) -> vec2<u32> { return parts[partsBegin + i]; }';

const head = (lanes: number) => /* wgsl */ `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let job = ${linearWorkgroupWgsl};`;

/** Writes the pool in order: an entry's place is the number of entries that are better. */
const writeSorted = ({ k, lanes, width }: SelectConstants & { width: number }) => /* wgsl */ `
  for (var j = lane; j < ${k}u; j += ${lanes}u) {
    let own = pool[j];
    var place = 0u;
    for (var m = 0u; m < ${k}u; m++) { place += select(0u, 1u, better(pool[m], own)); }
    values[job * ${k}u + place] = x[job * ${width}u + own.y];
    indices[job * ${k}u + place] = own.y;
  }
}`;
const betterWgsl = /* wgsl */ `
fn best(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return ${betterPairWgsl}; }
fn better(a: vec2<u32>, b: vec2<u32>) -> bool { return any(a != b) && all(best(a, b) == a); }`;

/** Top k of each row: x `[rows, width]` f32 bits, values and indices `[rows, k]`; one workgroup a row. */
export const topKKernel = defineKernel({
  name: 'top-k',
  bindings: { x: read('u32'), values: write('u32'), indices: write('u32') },
  uniforms: { rows: 'u32' },
  wgsl: (c: SelectConstants & { width: number }) => /* wgsl */ `
${selectWgsl(c)}
${betterWgsl}
${entryOfRow}
${head(c.lanes)}
  if (job >= u.rows) { return; }
  rowBegin = job * ${c.width}u;
  selectInto(lane, ${c.width}u);
${writeSorted(c)}`,
});

/** Top k of each chunk of each row, in any order: parts `[rows, chunks, k]` of (key, index in the row). */
export const topKChunksKernel = defineKernel({
  name: 'top-k-chunks',
  bindings: { x: read('u32'), parts: write('vec2<u32>') },
  uniforms: { rows: 'u32' },
  wgsl: (c: SelectConstants & { width: number; chunk: number }) => /* wgsl */ `
${selectWgsl(c)}
${entryOfRow}
${head(c.lanes)}
  if (job >= u.rows * ${Math.ceil(c.width / c.chunk)}u) { return; }
  rowBegin = (job / ${Math.ceil(c.width / c.chunk)}u) * ${c.width}u;
  first = (job % ${Math.ceil(c.width / c.chunk)}u) * ${c.chunk}u;
  selectInto(lane, min(${c.chunk}u, ${c.width}u - first));
  for (var j = lane; j < ${c.k}u; j += ${c.lanes}u) { parts[job * ${c.k}u + j] = pool[j]; }
}`,
});

/** Top k of each row's parts `[rows, candidates]`; x as above, for the values. */
export const topKMergeKernel = defineKernel({
  name: 'top-k-merge',
  bindings: { x: read('u32'), parts: read('vec2<u32>'), values: write('u32'), indices: write('u32') },
  uniforms: { rows: 'u32' },
  wgsl: (c: SelectConstants & { width: number; candidates: number }) => /* wgsl */ `
${selectWgsl(c)}
${betterWgsl}
${entryOfParts}
${head(c.lanes)}
  if (job >= u.rows) { return; }
  partsBegin = job * ${c.candidates}u;
  selectInto(lane, ${c.candidates}u);
${writeSorted(c)}`,
});
