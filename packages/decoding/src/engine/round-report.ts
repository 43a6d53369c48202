/** What a round proposed and what became of it, decoded from the words that the GPU left in the loop state. */
import { loopLayout } from '../loop/loop-states.ts';

/** A row of a verified tree. */
export interface TreeNode {
  readonly token: number;
  /** Row of the parent; -1 for the anchor. */
  readonly parent: number;
  /** Depth under the anchor, which has depth 0. */
  readonly depth: number;
  /** Whether it lies on the accepted path; the anchor always does. */
  readonly accepted: boolean;
}

/** Milliseconds that the GPU spent in the parts of rounds. */
export interface PhaseTimes {
  /** Proposing the tree. */
  readonly draftMs: number;
  /** The target's pass over its rows, and the verifier's decision. */
  readonly verifyMs: number;
  /** Keeping what was accepted: history, caches, and what the drafter takes in. */
  readonly commitMs: number;
}

/** One round, as `rounds: true` reports it. */
export interface RoundReport {
  /** Rows of the tree that were in use; row 0 is the anchor, the last token kept before the round. */
  readonly nodes: readonly TreeNode[];
  /** Rows of the accepted path in order, the anchor first; as the verifier accepted it, before stop tokens and limits. */
  readonly path: readonly number[];
  /** The token that the target chose behind the path. */
  readonly next: number;
  /**
   * Whether drafts were verified behind the last row of the path and all refused: `next` is then what the target chose instead. Otherwise
   * the path ends at a leaf, and `next` is the bonus token.
   */
  readonly disagreed: boolean;
  /** Undefined on a device without the feature `timestamp-query`. Browsers round each to 0.1 ms. */
  readonly times: PhaseTimes | undefined;
}

/** Decodes the tree in all of the loop state's words. */
export function roundReport(words: Uint32Array, times: PhaseTimes | undefined): RoundReport {
  const at = (begin: number, count: number): number[] => Array.from(words.subarray(begin, begin + count));
  const rows = words[loopLayout.proposalCount]!;
  const branches = words[loopLayout.proposalBranches] === 1;
  const path = rows === 1 ? [0] : at(loopLayout.proposalPath, words[loopLayout.proposalAccepted]!);
  const parents = at(loopLayout.proposalParents, rows);
  const nodes: TreeNode[] = [];
  for (const [row, token] of at(loopLayout.proposal, rows).entries()) {
    const parent = branches && row > 0 ? parents[row]! : row - 1;
    nodes.push({ token, parent, depth: row === 0 ? 0 : nodes[parent]!.depth + 1, accepted: path.includes(row) });
  }
  const last = path.at(-1)!;
  return {
    nodes,
    path,
    next: words[loopLayout.proposalNext]!,
    disagreed: nodes.some(({ parent }) => parent === last),
    times,
  };
}

/** Times of a round's sections; what belongs to none of them counts as verification. */
export function phaseTimes(sectionMs: Readonly<Record<string, number>>): PhaseTimes {
  const { draft = 0, commit = 0, ...rest } = sectionMs;
  return { draftMs: draft, verifyMs: Object.values(rest).reduce((sum, ms) => sum + ms, 0), commitMs: commit };
}

/** Times of rounds taken together. */
export function sumOfTimes(a: PhaseTimes | undefined, b: PhaseTimes): PhaseTimes {
  if (!a) return b;
  return {
    draftMs: a.draftMs + b.draftMs,
    verifyMs: a.verifyMs + b.verifyMs,
    commitMs: a.commitMs + b.commitMs,
  };
}
