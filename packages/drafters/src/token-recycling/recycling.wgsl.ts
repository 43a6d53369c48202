import { defineKernel, noToken, read, readWrite, write } from '@forerun/tensor';

/** Tables of a tree and the size of the matrix. */
interface TreeConstants {
  readonly parents: readonly number[];
  readonly ranks: readonly number[];
  readonly depths: readonly number[];
  readonly vocabSize: number;
  readonly candidates: number;
}

const table = (values: readonly number[]) =>
  `array<u32, ${values.length}>(${values.map((value) => `${value}u`).join(', ')})`;

/** One invocation a row, one depth at a time: a node's token stands in the matrix at its parent's token and its own rank. */
export const recyclingTreeKernel = defineKernel({
  name: 'recycling-tree',
  bindings: { matrix: read('u32'), anchor: read('u32'), tokens: write('u32') },
  wgsl: ({ parents, ranks, depths, vocabSize, candidates }: TreeConstants) => /* wgsl */ `
var<workgroup> chosen: array<u32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) row: u32) {
  var parents = ${table(parents)};
  var ranks = ${table(ranks)};
  var depths = ${table(depths)};
  if (row == 0u) { chosen[0] = anchor[0]; }
  for (var depth = 1u; depth <= ${Math.max(...depths)}u; depth++) {
    workgroupBarrier();
    if (row < ${parents.length}u && depths[row] == depth) {
      let above = chosen[parents[row]];
      var token = ${noToken}u;
      if (above < ${vocabSize}u) { token = matrix[above * ${candidates}u + ranks[row]]; }
      chosen[row] = token;
    }
  }
  if (row < ${parents.length}u) { tokens[row] = chosen[row]; }
}`,
});

/** One invocation a row; of rows with the same token the last one writes. */
export const recyclingUpdateKernel = defineKernel({
  name: 'recycling-update',
  bindings: { matrix: readWrite('u32'), tokens: read('u32'), topTokens: read('u32'), count: read('u32') },
  wgsl: ({ width, vocabSize, candidates }: { width: number; vocabSize: number; candidates: number }) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) row: u32) {
  let used = min(count[0], ${width}u);
  if (row >= used) { return; }
  let token = tokens[row];
  if (token >= ${vocabSize}u) { return; }
  for (var later = row + 1u; later < used; later++) {
    if (tokens[later] == token) { return; }
  }
  for (var i = 0u; i < ${candidates}u; i++) { matrix[token * ${candidates}u + i] = topTokens[row * ${candidates}u + i]; }
}`,
});
