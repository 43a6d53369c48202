import type { Round, TokenTree } from '@forerun/contracts';
import type { FeatureHead } from '@forerun/mtp';
import { gatherRows, type Tensor } from '@forerun/tensor';
import { beamTree } from '../trees/beam-tree.ts';
import { type LevelNodes, levelTree } from '../trees/level-tree.ts';
import { paddedTree } from '../trees/padded-tree.ts';
import { type ShapeOfWidth, shapedTree } from '../trees/sub-tree.ts';
import { type ChildChoice, Children } from './children.ts';
import type { FeatureMemory } from './feature-memory.ts';

/** What a tree of features is grown from. */
export interface FeatureTreeParts {
  readonly head: FeatureHead;
  readonly memory: FeatureMemory;
  readonly children: ChildChoice;
  /** Rows of the tree, the anchor included; at most the round's. */
  readonly width: number;
}

/** The head's passes over one level after the other: each row goes on from what its parent recycled, and sees its own path. */
class FeatureLevels {
  readonly ready: Tensor;
  /** `[1, Vd]`: behind the anchor. */
  readonly first: Tensor;
  readonly #round: Round;
  readonly #parts: FeatureTreeParts;
  #recycled: Tensor;
  #places: Tensor | undefined;
  #rows = 0;

  constructor(round: Round, parts: FeatureTreeParts) {
    const { head, memory } = parts;
    const { graph } = round.length;
    this.#round = round;
    this.#parts = parts;
    this.ready = memory.ready(round.length);
    this.first = head.logits(memory.value(graph, 'hidden'));
    this.#recycled = memory.value(graph, 'recycled');
  }

  /** Logits `[k, Vd]` behind nodes. */
  expand({ depth, tokens, parents }: LevelNodes): Tensor {
    const { head, memory } = this.#parts;
    const { rows, places } = memory.levelRows(this.#round.length, tokens, {
      depth,
      begin: this.#rows,
      ready: this.ready,
      ...(this.#places ? { above: gatherRows(this.#places, parents) } : {}),
    });
    const { hidden, recycled } = head.forward(rows, gatherRows(this.#recycled, parents), memory.cache!);
    this.#rows += tokens.shape[0]!;
    this.#recycled = recycled;
    this.#places = places;
    return head.logits(hidden);
  }
}

/** A dynamic tree: at each depth the head runs on the `topK` nodes of greatest joint probability, and the best of all make the tree. */
export function dynamicFeatureTree(
  round: Round,
  parts: FeatureTreeParts & { readonly depth: number; readonly topK: number },
): TokenTree {
  const { head, width, children: choice, depth, topK } = parts;
  const levels = new FeatureLevels(round, parts);
  const children = new Children({ round, choice, vocabulary: vocabularyOf(head) });
  const tree = beamTree({
    anchor: round.anchor,
    logits: children.ranked(levels.first, 1),
    width,
    depth: Math.min(depth, width - 1),
    // No more than width - 1 nodes of a depth, or children of a node, can be among the best width - 1 nodes.
    beams: Math.min(topK, width - 1, head.vocabSize),
    expand: (beams) => children.ranked(levels.expand(beams), beams.depth + 1),
    tokensOf: (own) => children.tokens(own),
  });
  return paddedTree(tree, round.width, levels.ready);
}

/** A tree of fixed form, filled level by level. */
export function staticFeatureTree(
  round: Round,
  parts: FeatureTreeParts & { readonly shapes: ShapeOfWidth },
): TokenTree {
  const { head, width, children: choice, shapes } = parts;
  const levels = new FeatureLevels(round, parts);
  const children = new Children({ round, choice, vocabulary: vocabularyOf(head) });
  const shape = shapes(width);
  const { tokens, expanded } = levelTree(shape, {
    anchor: round.anchor,
    logits: levels.first,
    expand: (nodes) => levels.expand(nodes),
    children: (logits, { depth, ranks }) => children.of(logits, { depths: depth, ranks }),
  });
  const order = new Map(expanded.map((row, index) => [row, index]));
  return {
    ...shapedTree(shape, { tokens, width: round.width, ready: levels.ready }),
    ...children.distribution(Array.from({ length: round.width }, (_, row) => order.get(row))),
  };
}

function vocabularyOf(head: FeatureHead) {
  return {
    size: head.vocabSize,
    tokens: (own: Tensor) => head.tokens(own),
    spread: (logits: Tensor) => head.spread(logits),
  };
}
