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

/** One invocation: each node that is taken puts its next sibling and its first child among the candidates. */
const bestFirstKernel = defineKernel({
  name: 'best-first-tree',
  bindings: {
    anchor: read('u32'),
    candidates: read('u32'),
    logProbabilities: read('f32'),
    tokens: write('u32'),
    parents: write('u32'),
    depths: write('u32'),
    count: write('u32'),
  },
  wgsl: (c: { width: number; levels: number; ranks: number }) => /* wgsl */ `
const taken = -3.0e38;
var<private> score: array<f32, ${2 * c.width + 2}>;
// Score of the parent, whose row comes next, then depth and rank.
var<private> base: array<f32, ${2 * c.width + 2}>;
var<private> place: array<vec3<u32>, ${2 * c.width + 2}>;
var<private> size: u32;
fn offer(above: f32, parent: u32, depth: u32, rank: u32) {
  if (depth >= ${c.levels}u || rank >= ${c.ranks}u) { return; }
  score[size] = above + logProbabilities[depth * ${c.ranks}u + rank];
  base[size] = above;
  place[size] = vec3<u32>(parent, depth, rank);
  size++;
}
@compute @workgroup_size(1)
fn main() {
  tokens[0] = anchor[0];
  parents[0] = 0u;
  depths[0] = 0u;
  offer(0.0, 0u, 0u, 0u);
  var row = 1u;
  for (; row < ${c.width}u; row++) {
    var best = 0u;
    for (var i = 1u; i < size; i++) { if (score[i] > score[best]) { best = i; } }
    if (score[best] <= -1.0e38) { break; }
    let node = place[best];
    let reached = score[best];
    score[best] = taken;
    tokens[row] = candidates[node.y * ${c.ranks}u + node.z];
    parents[row] = node.x;
    depths[row] = node.y + 1u;
    offer(base[best], node.x, node.y, node.z + 1u);
    offer(reached, row, node.y + 1u, 0u);
  }
  count[0] = row;
  for (; row < ${c.width}u; row++) {
    tokens[row] = 0u;
    parents[row] = 0u;
    depths[row] = 1u;
  }
}`,
});

const bestFirstOperation = defineOperation<{ readonly width: number }>({
  name: 'best-first-tree',
  infer: (_, { width }) => u32Vectors(width, width, width, 1),
  reference([anchor, candidates, logProbabilities], { width }) {
    const [levels, ranks] = candidates!.shape as [number, number];
    const open: { score: number; base: number; parent: number; depth: number; rank: number }[] = [];
    const offer = (base: number, parent: number, depth: number, rank: number) => {
      if (depth >= levels || rank >= ranks) return;
      open.push({ score: base + logProbabilities!.data[depth * ranks + rank]!, base, parent, depth, rank });
    };
    const rows = [{ token: anchor!.data[0]!, parent: 0, depth: 0 }];
    offer(0, 0, 0, 0);
    while (rows.length < width && open.length > 0) {
      const best = open.reduce((one, node) => (node.score > one.score ? node : one));
      if (best.score <= -1e38) break;
      open.splice(open.indexOf(best), 1);
      rows.push({
        token: candidates!.data[best.depth * ranks + best.rank]!,
        parent: best.parent,
        depth: best.depth + 1,
      });
      offer(best.base, best.parent, best.depth, best.rank + 1);
      offer(best.score, rows.length - 1, best.depth + 1, 0);
    }
    const column = (pick: (row: (typeof rows)[number]) => number, padding: number) =>
      u32Array(Array.from({ length: width }, (_, row) => (rows[row] ? pick(rows[row]) : padding)));
    return [
      column(({ token }) => token, 0),
      column(({ parent }) => parent, 0),
      column(({ depth }) => depth, 1),
      u32Array([rows.length]),
    ];
  },
  lower(lowering, { operands, outputs, attributes: { width } }) {
    const [anchor, candidates, logProbabilities] = operands as readonly [Tensor, Tensor, Tensor];
    const [tokens, parents, depths, count] = outputs;
    lowering.dispatch(bestFirstKernel, {
      constants: { width, levels: candidates.shape[0]!, ranks: candidates.shape[1]! },
      bindings: {
        anchor: lowering.tensor(anchor),
        candidates: lowering.tensor(candidates),
        logProbabilities: lowering.tensor(logProbabilities),
        tokens: lowering.tensor(tokens!),
        parents: lowering.tensor(parents!),
        depths: lowering.tensor(depths!),
        count: lowering.tensor(count!),
      },
      workgroups: [1, 1, 1],
    });
  },
});

/**
 * The `width - 1` most likely nodes of the tree in which every node of a depth has that depth's candidates as children: what drafters
 * that give a distribution for each depth, independent of the path, can know. A path's score is the sum of its log-probabilities.
 *
 * @param given.anchor `[1]` u32
 * @param given.candidates `[D, k]` u32, best first
 * @param given.logProbabilities `[D, k]` f32, falling, at most 0
 * @param width rows, the anchor included; those that find no node stay out of use
 * @throws {@link ShapeError}, {@link ArgumentError} for operands and widths that do not fit
 */
export function bestFirstTree(
  given: { readonly anchor: Tensor; readonly candidates: Tensor; readonly logProbabilities: Tensor },
  width: number,
): TokenTree {
  const { anchor, candidates, logProbabilities } = given;
  if (!Number.isInteger(width) || width < 1 || width > maxTreeWidth) {
    throw new ArgumentError(`bestFirstTree: expected a width from 1 to ${maxTreeWidth}, got ${width}.`);
  }
  if (candidates.shape.length !== 2 || shapeText(candidates.shape) !== shapeText(logProbabilities.shape)) {
    throw new ShapeError(
      `bestFirstTree: expected candidates and logProbabilities of one shape [D, k], got ${shapeText(candidates.shape)} and ${shapeText(logProbabilities.shape)}.`,
    );
  }
  const [tokens, parents, depths, count] = anchor.graph.apply(
    bestFirstOperation,
    [anchor, candidates, logProbabilities],
    { width },
  );
  return {
    width,
    depth: Math.min(candidates.shape[0]!, width - 1),
    chain: false,
    tokens: tokens!,
    parents: parents!,
    depths: depths!,
    count: count!,
  };
}
