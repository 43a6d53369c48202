import type { Binding } from '@forerun/tensor';
import { defineKernel, noToken, read } from '@forerun/tensor';
import { outcomeBindings } from '../verdict/outcome.ts';

/** A chain's accepted rows are those before the first that differs from the target of the one before. */
export const walkChainKernel = defineKernel({
  name: 'walk-chain',
  bindings: {
    tokens: read('u32'),
    rows: read('u32'),
    targets: read('u32'),
    ...outcomeBindings,
  },
  wgsl: ({ width }: { width: number }) => /* wgsl */ `
var<workgroup> firstMiss: atomic<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) row: u32) {
  let used = clamp(rows[0], 1u, ${width}u);
  if (row == 0u) { atomicStore(&firstMiss, used); }
  workgroupBarrier();
  if (row > 0u && row < used) {
    let wanted = targets[row - 1u];
    if (tokens[row] != wanted || wanted == ${noToken}u) { atomicMin(&firstMiss, row); }
  }
  workgroupBarrier();
  let kept = atomicLoad(&firstMiss);
  if (row < ${width}u) { path[row] = select(0u, row, row < kept); }
  if (row == 0u) {
    count[0] = kept;
    next[0] = targets[kept - 1u];
  }
}`,
});

/**
 * A row of a tree is accepted if it and all its ancestors are the first among their siblings to hold the target of their parent.
 * Every row looks at its own ancestors, so the depth costs no barriers.
 */
export const walkTreeKernel = defineKernel({
  name: 'walk-tree',
  bindings: {
    tokens: read('u32'),
    parents: read('u32'),
    rows: read('u32'),
    targets: read('u32'),
    ...outcomeBindings,
  } satisfies Record<string, Binding>,
  wgsl: ({ width }: { width: number }) => /* wgsl */ `
var<workgroup> parentOf: array<u32, 64>;
var<workgroup> tokenOf: array<u32, 64>;
var<workgroup> matches: array<u32, 64>;
var<workgroup> onPath: array<u32, 64>;
var<workgroup> kept: atomic<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) row: u32) {
  let used = clamp(rows[0], 1u, ${width}u);
  if (row < used) {
    tokenOf[row] = tokens[row];
    parentOf[row] = select(parents[row], 0u, row == 0u);
  }
  workgroupBarrier();
  var first = 0u;
  if (row < used) {
    let parent = parentOf[row];
    var wanted = ${noToken}u;
    if (parent < max(row, 1u)) { wanted = targets[parent]; }
    first = select(0u, 1u, row == 0u || (tokenOf[row] == wanted && wanted != ${noToken}u));
    for (var sibling = 1u; sibling < row; sibling++) {
      if (parentOf[sibling] == parent && tokenOf[sibling] == tokenOf[row]) { first = min(first, select(0u, 1u, row == 0u)); }
    }
  }
  matches[row] = first;
  workgroupBarrier();
  if (row < used && first == 1u) {
    var depth = 0u;
    var accepted = true;
    for (var at = row; at > 0u; at = parentOf[at]) {
      depth++;
      if (matches[at] == 0u) {
        accepted = false;
        break;
      }
    }
    if (accepted) {
      onPath[depth] = row;
      atomicMax(&kept, depth + 1u);
    }
  }
  workgroupBarrier();
  let length = atomicLoad(&kept);
  if (row < ${width}u) { path[row] = select(0u, onPath[row], row < length); }
  if (row == 0u) {
    count[0] = length;
    next[0] = targets[onPath[length - 1u]];
  }
}`,
});
