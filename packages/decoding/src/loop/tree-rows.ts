import type { State, Tensor } from '@forerun/tensor';
import { defineKernel, defineOperation, read, readWrite, u32Array, write } from '@forerun/tensor';
import { loopLayout } from './loop-states.ts';

const treeRowsKernel = defineKernel({
  name: 'tree-rows',
  bindings: {
    parents: read('u32'),
    depths: read('u32'),
    length: read('u32'),
    indexes: write('u32'),
    path: write('u32'),
    words: readWrite('u32'),
  },
  wgsl: ({ width, depth }: { width: number; depth: number }) => /* wgsl */ `
@compute @workgroup_size(${width})
fn main(@builtin(local_invocation_index) row: u32) {
  let begin = length[0];
  indexes[row] = begin + depths[row];
  words[${loopLayout.proposalParents}u + row] = min(parents[row], row - min(row, 1u));
  var ancestor = row;
  for (var step = 0u; step <= ${depth}u; step += 1u) {
    let at = min(depths[ancestor], ${depth}u);
    path[row * ${depth + 1}u + at] = begin + ancestor;
    if (at == 0u) { break; }
    ancestor = min(parents[ancestor], ancestor - min(ancestor, 1u));
  }
  for (var at = depths[row] + 1u; at <= ${depth}u; at += 1u) { path[row * ${depth + 1}u + at] = begin; }
}`,
});

const treeRowsOperation = defineOperation<{ readonly depth: number }>({
  name: 'tree-rows',
  writes: [3],
  infer: ([parents], { depth }) => {
    const width = (parents as Tensor).shape[0]!;
    return [
      { shape: [width], dtype: 'u32' },
      { shape: [width, depth + 1], dtype: 'u32' },
    ];
  },
  reference([parents, depths, length, loop], { depth }) {
    const width = parents!.data.length;
    const begin = length!.data[0]!;
    const path = new Float64Array(width * (depth + 1)).fill(begin);
    for (let row = 0; row < width; row++) {
      loop!.data[loopLayout.proposalParents + row] = Math.min(parents!.data[row]!, Math.max(row - 1, 0));
      for (let ancestor = row; ; ancestor = Math.min(parents!.data[ancestor]!, Math.max(ancestor - 1, 0))) {
        const at = Math.min(depths!.data[ancestor]!, depth);
        path[row * (depth + 1) + at] = begin + ancestor;
        if (at === 0) break;
      }
    }
    const indexes = depths!.data.map((value) => begin + value);
    return [u32Array(indexes), u32Array(path, [width, depth + 1])];
  },
  lower(lowering, node) {
    const [parents, depths, length, loop] = node.operands;
    const [indexes, path] = node.outputs;
    lowering.dispatch(treeRowsKernel, {
      constants: { width: indexes!.shape[0]!, depth: node.attributes.depth },
      bindings: {
        parents: lowering.tensor(parents!),
        depths: lowering.tensor(depths!),
        length: lowering.tensor(length!),
        indexes: lowering.tensor(indexes!),
        path: lowering.tensor(path!),
        words: lowering.state(loop!),
      },
      workgroups: [1, 1, 1],
    });
  },
});

/**
 * Logical indexes `[M]` and path table `[M, depth + 1]` of a tree's rows: entry d of a row is the cache slot of its ancestor at
 * depth d, itself included. A parent that does not precede its row is taken for the row before it, so no input can loop. The parents
 * are kept in the loop state, for statistics and reports.
 */
export function treeRows(
  tree: { parents: Tensor; depths: Tensor; depth: number },
  { length, loop }: { length: Tensor; loop: State },
): { readonly indexes: Tensor; readonly path: Tensor } {
  const [indexes, path] = length.graph.apply(treeRowsOperation, [tree.parents, tree.depths, length, loop], {
    depth: tree.depth,
  });
  return { indexes: indexes!, path: path! };
}
