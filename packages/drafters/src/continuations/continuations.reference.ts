import { separator } from '../retrieval/datastore.ts';
import type { ContinuationOptions } from './continuations.ts';

/** A node of the trie of all continuations. */
export interface ContinuationNode {
  /** First of the places that go through it. */
  readonly place: number;
  readonly depth: number;
  /** How many go through it. */
  readonly seen: number;
}

interface HostPlaces {
  readonly text: Float64Array;
  readonly begins: Float64Array;
  /** Places in use, tokens that matched, end of the text. */
  readonly found: Float64Array;
}

/** `[P, longest]`: places that share the node which begins at a place, 0 where none begins. */
export function countContinuations({ text, begins, found }: HostPlaces, longest: number): Float64Array {
  const counts = new Float64Array(begins.length * longest);
  const firstOf = new Map<string, number>();
  for (let place = 0; place < Math.min(found[0]!, begins.length); place++) {
    let prefix = '';
    for (let depth = 0; depth < longest; depth++) {
      const at = begins[place]! + depth;
      if (at >= found[2]! || text[at] === separator) break;
      prefix += ` ${text[at]}`;
      const entry = firstOf.get(prefix) ?? place * longest + depth;
      firstOf.set(prefix, entry);
      counts[entry]! += 1;
    }
  }
  return counts;
}

/** The nodes that are allowed: as deep as the match is long enough for, and frequent enough. */
function allowedNodes(
  counts: Float64Array,
  found: Float64Array,
  { longest, factor, offset, minProbability }: ContinuationOptions,
): ContinuationNode[] {
  const most = factor === Infinity ? longest : Math.floor(factor * found[1]! + offset + 1e-4);
  const places = Math.min(found[0]!, counts.length / longest);
  const nodes: ContinuationNode[] = [];
  for (let entry = 0; entry < places * longest; entry++) {
    const [place, depth, seen] = [Math.floor(entry / longest), (entry % longest) + 1, counts[entry]!];
    if (seen > 0 && depth <= most && seen * 1.000001 >= minProbability * places) nodes.push({ place, depth, seen });
  }
  return nodes;
}

/** The `width - 1` most frequent nodes: more places first, then shallow ones, then the first in order. */
export function chooseTree(
  counts: Float64Array,
  found: Float64Array,
  options: ContinuationOptions & { readonly width: number },
): ContinuationNode[] {
  return allowedNodes(counts, found, options)
    .sort((a, b) => b.seen - a.seen || a.depth - b.depth || a.place - b.place)
    .slice(0, options.width - 1);
}

/** The chain of the most frequent next tokens, the first in order of equal ones. */
export function chooseChain(
  counts: Float64Array,
  found: Float64Array,
  options: ContinuationOptions & { readonly width: number },
): ContinuationNode[] {
  const nodes = allowedNodes(counts, found, options);
  const chain: ContinuationNode[] = [];
  let within = { place: 0, seen: Infinity };
  while (chain.length < options.width - 1) {
    const [next] = nodes
      .filter(({ place, depth }) => {
        return depth === chain.length + 1 && place >= within.place && place < within.place + within.seen;
      })
      .sort((a, b) => b.seen - a.seen || a.place - b.place);
    if (!next) break;
    chain.push(next);
    within = next;
  }
  return chain;
}
