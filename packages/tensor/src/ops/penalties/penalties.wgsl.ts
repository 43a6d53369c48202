import { defineKernel, read, readWrite, uniform } from '../../kernel/define-kernel.ts';

/** How rows of a verify pass follow each other: not at all, each on the one before, or each on its own parent. */
export type PathKind = 'none' | 'chain' | 'tree';

/** Most rows whose path can be followed. */
export const maxPathRows = 64;

const parentOf: Record<PathKind, string> = {
  none: '0u',
  chain: 'row - 1u',
  tree: 'min(pathParents[row], row - 1u)',
};

/**
 * WGSL of `countPath(row, block, stride)`: how often the tokens of an invocation stand on the path from `row` up to the anchor, which is left
 * out. The invocation looks at `blocks` blocks of four tokens, `stride` blocks apart; `hits` is indexed in that order. Each
 * invocation walks by itself, so that no barrier is needed.
 */
export function pathWgsl(kind: PathKind, blocks: number): string {
  const declaration = `var<private> hits: array<u32, ${4 * blocks}>;`;
  if (kind === 'none') return `${declaration}\nfn countPath(start: u32, first: u32, stride: u32) {}`;
  return /* wgsl */ `
${declaration}
fn countPath(start: u32, first: u32, stride: u32) {
  var row = start;
  while (row > 0u) {
    let token = pathTokens[row];
    let block = token / 4u;
    if (block >= first && (block - first) % stride == 0u && (block - first) / stride < ${blocks}u) {
      hits[(block - first) / stride * 4u + token % 4u]++;
    }
    row = ${parentOf[kind]};
  }
}`;
}

/** Bindings of {@link pathWgsl}. */
export const pathBindings = {
  none: {},
  chain: { pathTokens: read('u32') },
  tree: { pathTokens: read('u32'), pathParents: read('u32') },
} as const satisfies Record<PathKind, object>;

/**
 * WGSL of `penalise(x, token, onPath)`: the logit after penalties, by `counts`, `settings` and how often the token stands on the row's
 * path. Clamped, so that a huge penalty cannot make an infinity.
 */
export const penaliseWgsl = (vocabSize: number) => /* wgsl */ `
fn penalise(x: f32, token: u32, onPath: u32) -> f32 {
  let seen = counts[token] + onPath;
  let generated = counts[${vocabSize}u + token] + onPath;
  let repetition = bitcast<f32>(settings[1].x);
  let presence = bitcast<f32>(settings[1].y);
  let frequency = bitcast<f32>(settings[1].z);
  var z = x;
  if (seen > 0u) { z = select(z * repetition, z / repetition, z > 0.0); }
  z = fma(-frequency, f32(generated), z);
  if (generated > 0u) { z -= presence; }
  return clamp(z, -3.0e38, 3.0e38);
}`;

/** Adds one for each entry `from ..< to` of the history; an invocation an entry, `to - from` bounded by the grid. */
export const countTokensKernel = defineKernel({
  name: 'count-tokens',
  bindings: {
    history: read('u32'),
    begin: read('u32'),
    end: read('u32'),
    generatedFrom: read('u32'),
    counts: readWrite('atomic<u32>'),
  },
  wgsl: (c: { vocabSize: number; capacity: number }) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = begin[0] + id.x;
  if (i >= min(end[0], ${c.capacity}u)) { return; }
  let token = history[i];
  if (token >= ${c.vocabSize}u) { return; }
  atomicAdd(&counts[token], 1u);
  if (i >= generatedFrom[0]) { atomicAdd(&counts[${c.vocabSize}u + token], 1u); }
}`,
});

/** Zeroes all counts. */
export const clearCountsKernel = defineKernel({
  name: 'clear-counts',
  bindings: { counts: readWrite('u32') },
  wgsl: (c: { count: number }) => /* wgsl */ `
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < ${c.count}u) { counts[id.x] = 0u; }
}`,
});

/** The settings binding that {@link penaliseWgsl} reads. */
export const settingsBinding = uniform('array<vec4<u32>, 4>');
