import { read, uniform } from '../../kernel/define-kernel.ts';

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

/** The settings binding that {@link penaliseWgsl} reads. */
export const settingsBinding = uniform('array<vec4<u32>, 4>');
