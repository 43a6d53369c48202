/** Drafters that do what no drafter should: what a verifier must survive. */
import type { Drafter, Round, TokenTree } from '@forerun/contracts';
import { noState } from '@forerun/contracts';
import type { Graph } from '@forerun/tensor';

function adversary(name: string, tree: (round: Round, graph: Graph) => TokenTree): Drafter {
  return {
    name,
    needs: {},
    gives: { distribution: false },
    state: () => noState,
    prefill: () => undefined,
    propose: (round) => tree(round, round.length.graph),
    absorb: () => undefined,
  };
}

const column = (graph: Graph, width: number, value: (row: number) => number) =>
  graph.constant(Uint32Array.from({ length: width }, (_, row) => value(row)));

/** A chain of ids that no vocabulary has. */
export const invalidIds = (): Drafter =>
  adversary('invalid ids', ({ width, anchor }, graph) => ({
    width,
    depth: width - 1,
    chain: true,
    tokens: column(graph, width, (row) => (row === 0 ? 0 : 0xffff_ffff - row)).add(
      column(graph, width, (row) => (row === 0 ? 1 : 0)).mul(anchor),
    ),
    count: graph.constant(Uint32Array.of(width)),
  }));

/** A chain that repeats the anchor. */
export const parrot = (): Drafter =>
  adversary('parrot', ({ width, anchor }, graph) => ({
    width,
    depth: width - 1,
    chain: true,
    tokens: column(graph, width, () => 0).add(anchor),
    count: graph.constant(Uint32Array.of(width)),
  }));

/**
 * A tree over tokens 0, 1, 2, ... in which every row but the first has `fan` children, the first two of them the same token. With
 * a vocabulary of at most `fan` - 1 it always holds the right first token.
 */
export const bushes = (fan: number): Drafter =>
  adversary(`bushes of ${fan}`, ({ width, anchor }, graph) => {
    const parent = (row: number) => (row === 0 ? 0 : Math.floor((row - 1) / fan));
    const depth = (row: number): number => (row === 0 ? 0 : depth(parent(row)) + 1);
    return {
      width,
      depth: depth(width - 1),
      chain: false,
      tokens: column(graph, width, (row) => (row === 0 ? 0 : Math.max(((row - 1) % fan) - 1, 0))).add(
        column(graph, width, (row) => (row === 0 ? 1 : 0)).mul(anchor),
      ),
      parents: column(graph, width, parent),
      depths: column(graph, width, depth),
      count: graph.constant(Uint32Array.of(Math.max(1, width - 1))),
    };
  });
