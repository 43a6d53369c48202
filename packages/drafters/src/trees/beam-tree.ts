import type { TokenTree } from '@forerun/contracts';
import { ArgumentError, concat, maxTopK, type Tensor, topK } from '@forerun/tensor';
import { bestCandidates, pick } from './candidates.ts';
import { poolTree } from './pool-tree.ts';

/** Nodes of one depth that are drafted on. */
export interface Beams {
  /** Depth under the anchor, from 1. */
  readonly depth: number;
  /** `[k]` u32. */
  readonly tokens: Tensor;
  /** `[k]` u32: which of the beams one depth up each belongs to; all 0 at depth 1. */
  readonly parents: Tensor;
  /** `[k]` f32: log-probability of each path. */
  readonly scores: Tensor;
}

/** How a dynamic tree is grown. */
export interface BeamTreeOptions {
  /** `[1]` u32. */
  readonly anchor: Tensor;
  /** `[1, V]` f32: the draft's logits behind the anchor. */
  readonly logits: Tensor;
  /** Rows of the tree, the anchor included. */
  readonly width: number;
  /** Largest depth of a node; the draft runs `depth - 1` times. */
  readonly depth: number;
  /** Nodes of each depth that are drafted on, and children of each. */
  readonly beams: number;
  /** Runs the draft on the beams: logits `[k, V]`. */
  readonly expand: (beams: Beams) => Tensor;
  /** The target's tokens of indexes `[n]` u32 into the draft's vocabulary; the same by default. */
  readonly tokensOf?: (indexes: Tensor) => Tensor;
}

/**
 * A dynamic tree (EAGLE-2): at each depth the k nodes of greatest joint probability are drafted on, with k children each; of all
 * nodes seen, the `width - 1` best make the tree.
 *
 * Source: Li et al. 2024, "EAGLE-2" (2406.16858); `topK_generate` of SafeAILab/EAGLE.
 * @throws {@link ArgumentError} for fewer beams or depths than 1, or more beams than topK can keep
 */
export function beamTree(options: BeamTreeOptions): TokenTree {
  const { anchor, width, depth, beams: k, expand, tokensOf = (indexes: Tensor) => indexes } = options;
  const vocabSize = options.logits.shape[1]!;
  if (!Number.isInteger(k) || k < 1 || k > Math.min(maxTopK, vocabSize)) {
    throw new ArgumentError(`beamTree: expected from 1 to ${Math.min(maxTopK, vocabSize)} beams, got ${k}.`);
  }
  if (!Number.isInteger(depth) || depth < 1)
    throw new ArgumentError(`beamTree: expected a depth of at least 1, got ${depth}.`);
  const { graph } = anchor;
  const first = bestCandidates(options.logits, k);
  const zeros = graph.constant(new Uint32Array(k));
  let level: Beams = {
    depth: 1,
    tokens: tokensOf(first.indexes.reshape([k])),
    parents: zeros,
    scores: first.scores.reshape([k]),
  };
  const pool = { tokens: [level.tokens], parents: [zeros], scores: [level.scores] };
  // Where each beam lies in the pool.
  let places = graph.constant(Uint32Array.from({ length: k }, (_, i) => i));
  const ofBeam = graph.constant(Uint32Array.from({ length: k * k }, (_, i) => Math.floor(i / k)));
  for (let at = 2; at <= depth; at++) {
    const children = bestCandidates(expand(level), k);
    const scores = children.scores.add(level.scores.reshape([k, 1])).reshape([k * k]);
    const tokens = tokensOf(children.indexes.reshape([k * k]));
    pool.tokens.push(tokens);
    pool.parents.push(pick(places, ofBeam).add(1));
    pool.scores.push(scores);
    if (at === depth) break;
    const chosen = topK(scores.reshape([1, k * k]), k).indices.reshape([k]);
    level = { depth: at, tokens: pick(tokens, chosen), parents: chosen.div(k), scores: pick(scores, chosen) };
    places = chosen.add(k + (at - 2) * k * k);
  }
  const nodes = {
    tokens: concat(pool.tokens, 0),
    parents: concat(pool.parents, 0),
    scores: concat(pool.scores, 0),
    depth,
  };
  return poolTree(anchor, nodes, width);
}
