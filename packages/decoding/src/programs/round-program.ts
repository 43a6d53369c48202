import type {
  Accepted,
  Decoder,
  DecoderState,
  Drafter,
  DrafterState,
  Noise,
  Round,
  Rows,
  TargetOutputs,
  TokenTree,
  Verifier,
} from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { Graph, Tensor } from '@forerun/tensor';
import { topK, trace } from '@forerun/tensor';
import { endRound } from '../loop/end-round.ts';
import { keep } from '../loop/keep.ts';
import type { LoopStates } from '../loop/loop-states.ts';
import type { RoundHead } from '../loop/round-head.ts';
import { roundHead } from '../loop/round-head.ts';
import { treeRows } from '../loop/tree-rows.ts';
import { checkAccepted, checkTree } from './check-parts.ts';

/** What a round is made of. */
export interface RoundParts {
  readonly decoder: Decoder;
  readonly state: DecoderState;
  readonly loop: LoopStates;
  readonly noise: Noise;
  readonly verifier: Verifier;
  /** Absent for plain decoding. */
  readonly drafter?: { readonly drafter: Drafter; readonly state: DrafterState } | undefined;
}

/** The tree of plain decoding: the anchor alone. */
function anchorTree(graph: Graph, anchor: Tensor): TokenTree {
  return { width: 1, depth: 0, chain: true, tokens: anchor, count: graph.constant(Uint32Array.of(1)) };
}

/** The rows that verify a tree. */
function verifyRows(tree: TokenTree, head: RoundHead, { loop }: LoopStates): Rows {
  const { positions, length } = head;
  const shared = { inputs: tree.tokens, slots: positions, count: tree.count, length };
  if (tree.chain || !tree.parents || !tree.depths) {
    return { ...shared, positions, depths: positions, spans: head.nexts };
  }
  const { indexes, path } = treeRows(
    { parents: tree.parents, depths: tree.depths, depth: tree.depth },
    { length, loop },
  );
  return { ...shared, positions: indexes, depths: indexes, spans: indexes.add(1), path };
}

/** The target's outputs that a drafter asked for. */
export function targetOutputs(
  decoder: Decoder,
  pass: { rows: Rows; hidden: Tensor; normed?: Tensor; logits?: Tensor; taps: readonly Tensor[] },
  needs: Drafter['needs'],
): TargetOutputs {
  const normed = () => pass.normed ?? decoder.norm(pass.hidden);
  return {
    rows: pass.rows,
    ...(needs.hidden ? { hidden: needs.hidden === 'before-norm' ? pass.hidden : normed() } : {}),
    ...(needs.taps ? { taps: pass.taps } : {}),
    ...(needs.topTokens && pass.logits
      ? { topTokens: topK(pass.logits, Math.min(needs.topTokens, decoder.vocabSize)).indices }
      : {}),
  };
}

/** What a drafter proposes in a round, checked. */
function proposedTree({ drafter, state }: NonNullable<RoundParts['drafter']>, round: Round): TokenTree {
  const { decoder, width } = round;
  const tree = drafter.propose(round, state);
  checkTree(drafter.name, tree, { width, vocabSize: decoder.vocabSize });
  if (!tree.chain && !decoder.branching) {
    throw new MismatchedPartsError(
      `Drafter ${drafter.name} proposes trees, and this model keeps a recurrent state that verifies chains only. Use a drafter of chains, such as n-gram or a draft model.`,
    );
  }
  return tree;
}

/** What a round shows to drafter and verifier. */
function roundOf({ decoder, state, loop, noise }: RoundParts, width: number, head: RoundHead): Round {
  const { loop: words, history, sampling } = loop;
  return { width, loop: words, history, sampling, noise, decoder, state, ...head };
}

/**
 * Traces proposals alone, one width after the other, until one fits the target and the contract.
 *
 * @throws what the first one threw, where none does: {@link MismatchedPartsError}, or whatever the drafter throws.
 */
export function probeProposal(parts: RoundParts, widths: readonly number[]): void {
  const { drafter, loop } = parts;
  if (!drafter) return;
  const failures: unknown[] = [];
  for (const width of widths) {
    try {
      trace((graph) => void proposedTree(drafter, roundOf(parts, width, roundHead(graph, loop.loop, width))));
      return;
    } catch (error) {
      failures.push(error);
    }
  }
  throw failures[0];
}

/**
 * Traces one round: propose, forward, verify, keep, commit. With width 1 there is nothing to propose, and the round is a step of
 * plain decoding through the same verifier; a drafter, if there is one, takes in what it gave.
 *
 * @throws {@link MismatchedPartsError} for a tree or a verdict that does not fit.
 */
export function traceRound(parts: RoundParts, width: number): Graph {
  const { decoder, state, loop, verifier } = parts;
  return trace((graph) => {
    const head = roundHead(graph, loop.loop, width);
    const drafting = parts.drafter;
    const needs = drafting?.drafter.needs ?? {};
    const round = roundOf(parts, width, head);

    graph.section = 'draft';
    const tree = drafting && width > 1 ? proposedTree(drafting, round) : anchorTree(graph, head.anchor);
    graph.section = 'verify';
    const rows = verifyRows(tree, head, loop);
    const { hidden, taps } = decoder.forward(rows, state, needs.taps ? { taps: needs.taps } : {});
    const normed = decoder.norm(hidden);
    const logits = decoder.head(normed);
    // Rows behind the candidates are padding to the verifier, and to the statistics.
    const judged = tree.candidates ? { ...tree, count: tree.candidates } : tree;
    const accepted = verifier.verify(judged, logits, { ...round, rows });
    checkAccepted(verifier.name, accepted, tree.width);
    graph.section = 'commit';
    // The states of a drafter, and caches in which a tree's path has to be moved together, take in the last round of a run too.
    const follows = drafting !== undefined || !tree.chain;
    const kept = keep(judged, accepted, loop, follows ? 'at the end' : 'at once');
    const committed: Accepted = { path: accepted.path, count: kept, next: accepted.next };
    state.commit({ path: committed.path, count: kept, length: head.length, tree: !tree.chain });
    if (drafting) {
      const target = targetOutputs(decoder, { rows, hidden, normed, logits, taps }, needs);
      drafting.drafter.absorb(round, { tree, accepted: committed, target }, drafting.state);
    }
    if (follows) endRound(graph, loop.loop);
  });
}
