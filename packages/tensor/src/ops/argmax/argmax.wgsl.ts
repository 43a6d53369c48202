import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { betterPairWgsl, orderKeyWgsl } from '../../wgsl/order.ts';
import { workgroupReduceWgsl } from '../../wgsl/reduce.ts';

const best = (lanes: number) =>
  workgroupReduceWgsl({ name: 'best', type: 'vec2<u32>', lanes, combine: betterPairWgsl });

const head = (lanes: number) => /* wgsl */ `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let job = ${linearWorkgroupWgsl};`;

/** The best of elements `lane`, `lane + lanes`, ... of `[begin, end)`; a lane meets its indices in ascending order. */
const scan = (begin: string, length: string, lanes: number) => /* wgsl */ `
  var own = vec2<u32>(0u, 0xffffffffu);
  for (var i = lane; i < ${length}; i += ${lanes}u) {
    let key = orderKey(x[${begin} + i]);
    if (key > own.x) { own = vec2<u32>(key, i); }
  }`;

// The index of a row with a NaN is replaced by one that no vocabulary has.
const index = 'select(winner.y, 0xffffffffu, winner.x == nanKey)';

/** Index of the largest element of each row: x `[rows, width]` f32 bits, y `[rows]`; one workgroup a row. */
export const argmaxKernel = defineKernel({
  name: 'argmax',
  bindings: { x: read('u32'), y: write('u32') },
  uniforms: { rows: 'u32' },
  wgsl: ({ width, lanes }: { width: number; lanes: number }) => /* wgsl */ `
${orderKeyWgsl}
${best(lanes)}
${head(lanes)}
  if (job >= u.rows) { return; }
  let begin = job * ${width}u;
${scan('begin', `${width}u`, lanes)}
  let winner = best(lane, own);
  if (lane == 0u) { y[job] = ${index}; }
}`,
});

/** The best of each chunk of each row: x `[rows, width]` f32 bits, parts `[rows, chunks]` of (key, index in the row). */
export const argmaxChunksKernel = defineKernel({
  name: 'argmax-chunks',
  bindings: { x: read('u32'), parts: write('vec2<u32>') },
  uniforms: { rows: 'u32' },
  wgsl: ({ width, chunk, lanes }: { width: number; chunk: number; lanes: number }) => /* wgsl */ `
${orderKeyWgsl}
${best(lanes)}
${head(lanes)}
  if (job >= u.rows * ${Math.ceil(width / chunk)}u) { return; }
  let row = job / ${Math.ceil(width / chunk)}u;
  let first = (job % ${Math.ceil(width / chunk)}u) * ${chunk}u;
  let begin = row * ${width}u + first;
${scan('begin', `min(${chunk}u, ${width}u - first)`, lanes)}
  let winner = best(lane, vec2<u32>(own.x, own.y + first));
  if (lane == 0u) { parts[job] = winner; }
}`,
});

/** The best of each row's parts `[rows, chunks]`: y `[rows]`; one workgroup a row. */
export const argmaxMergeKernel = defineKernel({
  name: 'argmax-merge',
  bindings: { parts: read('vec2<u32>'), y: write('u32') },
  uniforms: { rows: 'u32' },
  wgsl: ({ chunks, lanes }: { chunks: number; lanes: number }) => /* wgsl */ `
${orderKeyWgsl}
${best(lanes)}
${head(lanes)}
  if (job >= u.rows) { return; }
  var own = vec2<u32>(0u, 0xffffffffu);
  for (var i = lane; i < ${chunks}u; i += ${lanes}u) { own = bestCombine(own, parts[job * ${chunks}u + i]); }
  let winner = best(lane, own);
  if (lane == 0u) { y[job] = ${index}; }
}`,
});
