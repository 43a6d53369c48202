import type { TokenTree } from '@forerun/contracts';
import type { Tensor } from '@forerun/tensor';
import {
  ArgumentError,
  defineKernel,
  defineOperation,
  read,
  ShapeError,
  shapeText,
  u32Array,
  u32Vectors,
  write,
} from '@forerun/tensor';
import { maxTreeWidth } from './tree-shape.ts';

/** Most nodes of a pool: their ranks are counted by comparing each with each. */
export const maxPoolNodes = 2048;
/** Scores below this stand for no node. */
const noScore = -1e38;

const poolTreeKernel = defineKernel({
  name: 'pool-tree',
  bindings: {
    anchor: read('u32'),
    nodeTokens: read('u32'),
    nodeParents: read('u32'),
    scores: read('f32'),
    tokens: write('u32'),
    parents: write('u32'),
    depths: write('u32'),
    count: write('u32'),
  },
  wgsl: (c: { width: number; nodes: number; lanes: number }) => /* wgsl */ `
var<workgroup> rowOf: array<u32, ${c.nodes}>;
var<workgroup> parentRow: array<u32, 64>;
fn isBefore(a: u32, b: u32) -> bool { return scores[a] > scores[b] || (scores[a] == scores[b] && a < b); }
@compute @workgroup_size(${c.lanes})
fn main(@builtin(local_invocation_index) lane: u32) {
  for (var node = lane; node < ${c.nodes}u; node += ${c.lanes}u) {
    var better = 0u;
    if (scores[node] <= ${noScore}) { better = ${c.width}u; }
    for (var other = 0u; other < ${c.nodes}u && better < ${c.width - 1}u; other++) {
      if (other != node && isBefore(other, node)) { better++; }
    }
    rowOf[node] = select(0u, 1u, better < ${c.width - 1}u);
  }
  workgroupBarrier();
  if (lane == 0u) {
    var row = 1u;
    for (var node = 0u; node < ${c.nodes}u; node++) {
      if (rowOf[node] == 0u) { continue; }
      rowOf[node] = row;
      let above = nodeParents[node];
      var parent = 0u;
      if (above > 0u) { parent = rowOf[min(above - 1u, ${c.nodes - 1}u)]; }
      parentRow[row] = parent;
      tokens[row] = nodeTokens[node];
      row++;
    }
    count[0] = row;
    tokens[0] = anchor[0];
    for (; row < ${c.width}u; row++) {
      parentRow[row] = 0u;
      tokens[row] = 0u;
    }
  }
  workgroupBarrier();
  if (lane < ${c.width}u) {
    var depth = 0u;
    for (var at = lane; at > 0u; at = parentRow[at]) { depth++; }
    parents[lane] = select(parentRow[lane], 0u, lane == 0u);
    depths[lane] = depth;
  }
}`,
});

const poolTreeOperation = defineOperation<{ readonly width: number }>({
  name: 'pool-tree',
  infer: (_, { width }) => u32Vectors(width, width, width, 1),
  reference([anchor, nodeTokens, nodeParents, scores], { width }) {
    const order = Array.from(scores!.data.keys()).filter((node) => scores!.data[node]! > noScore);
    order.sort((a, b) => scores!.data[b]! - scores!.data[a]! || a - b);
    const chosen = order.slice(0, width - 1).sort((a, b) => a - b);
    const rowOf = new Map(chosen.map((node, index) => [node, index + 1]));
    const tokens = [anchor!.data[0]!, ...chosen.map((node) => nodeTokens!.data[node]!)];
    const parents = [0, ...chosen.map((node) => rowOf.get(nodeParents!.data[node]! - 1) ?? 0)];
    while (tokens.length < width) {
      tokens.push(0);
      parents.push(0);
    }
    const depths = parents.map((_, row) => {
      let depth = 0;
      for (let at = row; at > 0; at = parents[at]!) depth++;
      return depth;
    });
    return [u32Array(tokens), u32Array(parents), u32Array(depths), u32Array([chosen.length + 1])];
  },
  lower(lowering, { operands, outputs, attributes: { width } }) {
    const [anchor, nodeTokens, nodeParents, scores] = operands as readonly [Tensor, Tensor, Tensor, Tensor];
    const [tokens, parents, depths, count] = outputs;
    const { kind } = lowering.device.adapter;
    lowering.dispatch(poolTreeKernel, {
      // Each node is compared with each: more lanes for more nodes, where they are no threads of a processor.
      constants: { width, nodes: scores.shape[0]!, lanes: kind === 'hardware' && scores.shape[0]! > 64 ? 256 : 64 },
      bindings: {
        anchor: lowering.tensor(anchor),
        nodeTokens: lowering.tensor(nodeTokens),
        nodeParents: lowering.tensor(nodeParents),
        scores: lowering.tensor(scores),
        tokens: lowering.tensor(tokens!),
        parents: lowering.tensor(parents!),
        depths: lowering.tensor(depths!),
        count: lowering.tensor(count!),
      },
      workgroups: [1, 1, 1],
    });
  },
});

/** Nodes among which a tree is chosen; a node comes after its parent, and its score is at most its parent's. */
export interface NodePool {
  /** `[P]` u32. */
  readonly tokens: Tensor;
  /** `[P]` u32: 0 under the anchor, else 1 + index of the parent in the pool. */
  readonly parents: Tensor;
  /** `[P]` f32: log-probability of the path; below -1e38 for nodes that are not there. */
  readonly scores: Tensor;
  /** Largest depth of a node. */
  readonly depth: number;
}

/**
 * The tree of the `width - 1` best nodes of a pool, in the pool's order. Of equal scores the first counts, so that no node comes
 * without its parent.
 *
 * @param anchor `[1]` u32
 * @throws {@link ShapeError}, {@link ArgumentError} for pools and widths that do not fit
 */
export function poolTree(anchor: Tensor, pool: NodePool, width: number): TokenTree {
  const { tokens: nodeTokens, parents: nodeParents, scores } = pool;
  const [nodes = 0] = scores.shape;
  if (!Number.isInteger(width) || width < 1 || width > maxTreeWidth) {
    throw new ArgumentError(`poolTree: expected a width from 1 to ${maxTreeWidth}, got ${width}.`);
  }
  for (const [name, tensor] of Object.entries({ tokens: nodeTokens, parents: nodeParents, scores })) {
    if (tensor.shape.length !== 1 || tensor.shape[0] !== nodes || nodes < 1 || nodes > maxPoolNodes) {
      throw new ShapeError(
        `poolTree: ${name} must be [P] with P from 1 to ${maxPoolNodes}, like the scores, got ${shapeText(tensor.shape)}.`,
      );
    }
  }
  const [tokens, parents, depths, count] = anchor.graph.apply(
    poolTreeOperation,
    [anchor, nodeTokens, nodeParents, scores],
    { width },
  );
  return {
    width,
    depth: Math.min(pool.depth, width - 1),
    chain: false,
    tokens: tokens!,
    parents: parents!,
    depths: depths!,
    count: count!,
  };
}
