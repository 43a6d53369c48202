/**
 * The end of a round: what was accepted becomes history. Stop tokens, the budget and the capacity are decided here, on the GPU, so
 * that rounds in flight behind this one find `stop` set and change nothing.
 */
import type { Accepted, TokenTree } from '@forerun/contracts';
import { loopBinding, loopWord, loopWords } from '@forerun/contracts';
import type { Operand, State, Tensor } from '@forerun/tensor';
import { defineKernel, defineOperation, read, readWrite, u32Array, u32Vectors, write } from '@forerun/tensor';
import type { LoopStates } from './loop-states.ts';
import { loopLayout, maxDepths } from './loop-states.ts';

/** The token that a sampler returns for logits that are not numbers. */
export const notANumberToken = 0xffff_ffff;

/**
 * When a round that ends the run sets `stop`: here, where nothing follows in the round, or by `endRound`, so that states still take in
 * what it kept.
 */
export type StopTime = 'at once' | 'at the end';

const stopWgsl: Readonly<Record<StopTime, string>> = {
  'at once': `words[${loopWords.stop}] = min(reason, 1u);`,
  'at the end': '',
};

const emitWgsl = (capacity: number, stops: StopTime) => /* wgsl */ `
fn isStop(token: u32) -> bool {
  let stops = words[${loopLayout.stopCount}];
  for (var i = 0u; i < stops; i += 1u) {
    if (words[${loopLayout.stops}u + i] == token) { return true; }
  }
  return false;
}
fn emit(token: u32) -> bool {
  if (token == ${notANumberToken}u) {
    words[${loopWords.stop}] = 1u;
    words[${loopWords.reason}] = 4u;
    return false;
  }
  let length = words[${loopWords.length}] + 1u;
  history[length] = token;
  words[${loopWords.length}] = length;
  words[${loopWords.anchor}] = token;
  words[${loopWords.produced}] += 1u;
  words[${loopWords.budget}] -= 1u;
  var reason = 0u;
  if (length + 1u >= ${capacity}u) { reason = 3u; }
  if (words[${loopWords.budget}] == 0u) { reason = 2u; }
  if (isStop(token)) { reason = 1u; }
  words[${loopWords.reason}] = reason;
  ${stopWgsl[stops]}
  return reason == 0u;
}
`;

interface KeepAttributes {
  readonly width: number;
  readonly chain: boolean;
  readonly stops: StopTime;
}

const keepOneKernel = defineKernel({
  name: 'keep-one',
  bindings: {
    next: read('u32'),
    words: readWrite('u32'),
    history: readWrite('u32'),
    counts: readWrite('u32'),
    kept: write('u32'),
  },
  wgsl: ({ capacity, vocabSize, stops }: { capacity: number; vocabSize: number; stops: StopTime }) => /* wgsl */ `
${emitWgsl(capacity, stops)}
@compute @workgroup_size(1)
fn main() {
  let before = words[${loopWords.produced}];
  words[${loopWords.rounds}] += 1u;
  words[${loopLayout.proposalCount}] = 1u;
  words[${loopLayout.proposalAccepted}] = 1u;
  words[${loopLayout.proposal}] = words[${loopWords.anchor}];
  words[${loopLayout.proposalNext}] = next[0];
  words[${loopLayout.proposalBranches}] = 0u;
  _ = emit(next[0]);
  kept[0] = words[${loopWords.produced}] - before;
  if (kept[0] == 1u && next[0] < ${vocabSize}u) {
    counts[next[0]] += 1u;
    counts[${vocabSize}u + next[0]] += 1u;
  }
}`,
});

const countKeptKernel = defineKernel({
  name: 'count-kept',
  bindings: { kept: read('u32'), loopState: loopBinding, history: read('u32'), counts: readWrite('atomic<u32>') },
  wgsl: ({ vocabSize }: { vocabSize: number }) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  if (lane >= kept[0]) { return; }
  let token = history[${loopWord('length')} - lane];
  if (token >= ${vocabSize}u) { return; }
  atomicAdd(&counts[token], 1u);
  atomicAdd(&counts[${vocabSize}u + token], 1u);
}`,
});

/** WGSL expression: whether a draft was verified under the last row of the accepted path. */
const verifiedBehind = { chain: 'last + 1u < used', tree: 'hasChild(last, used)' };

const keepTreeKernel = defineKernel({
  name: 'keep-tree',
  bindings: {
    tokens: read('u32'),
    rows: read('u32'),
    path: read('u32'),
    accepted: read('u32'),
    next: read('u32'),
    words: readWrite('u32'),
    history: readWrite('u32'),
    kept: write('u32'),
  },
  wgsl: ({ capacity, width, chain, stops }: KeepAttributes & { capacity: number }) => /* wgsl */ `
${emitWgsl(capacity, stops)}
fn hasChild(parent: u32, used: u32) -> bool {
  for (var row = 1u; row < used; row += 1u) {
    if (words[${loopLayout.proposalParents}u + row] == parent) { return true; }
  }
  return false;
}
@compute @workgroup_size(1)
fn main() {
  let before = words[${loopWords.produced}];
  let used = clamp(rows[0], 1u, ${width}u);
  let count = clamp(accepted[0], 1u, used);
  words[${loopWords.rounds}] += 1u;
  words[${loopWords.drafted}] += used - 1u;
  words[${loopWords.accepted}] += count - 1u;
  words[${loopLayout.proposalCount}] = used;
  words[${loopLayout.proposalAccepted}] = count;
  for (var row = 0u; row < used; row += 1u) { words[${loopLayout.proposal}u + row] = tokens[row]; }
  words[${loopLayout.proposalNext}] = next[0];
  words[${loopLayout.proposalBranches}] = ${Number(!chain)}u;
  for (var i = 0u; i < count; i += 1u) { words[${loopLayout.proposalPath}u + i] = min(path[i], ${width - 1}u); }
  let last = words[${loopLayout.proposalPath}u + count - 1u];
  let reached = min(count - 1u + u32(${verifiedBehind[chain ? 'chain' : 'tree']}), ${maxDepths}u);
  for (var d = 0u; d < reached; d += 1u) { words[${loopLayout.draftedAtDepth}u + d] += 1u; }
  for (var d = 1u; d < min(count, ${maxDepths + 1}u); d += 1u) { words[${loopLayout.acceptedAtDepth - 1}u + d] += 1u; }
  var going = true;
  for (var i = 1u; i < count && going; i += 1u) { going = emit(tokens[words[${loopLayout.proposalPath}u + i]]); }
  if (going) { _ = emit(next[0]); }
  kept[0] = words[${loopWords.produced}] - before;
}`,
});

/** Order of operands: next, loop, history, counts, then for trees tokens, rows, path, accepted. */
const keepOperation = defineOperation<KeepAttributes>({
  name: 'keep',
  writes: [1, 2, 3],
  infer: () => u32Vectors(1),
  reference([next, loop, history, counts, tokens, rows, path, accepted], { width, chain, stops: stopTime }) {
    const words = loop!.data;
    const vocabSize = counts!.shape[1]!;
    const before = words[loopWords.produced]!;
    const stops = Array.from(words.subarray(loopLayout.stops, loopLayout.stops + words[loopLayout.stopCount]!));
    const emit = (token: number): boolean => {
      if (token === notANumberToken) {
        words[loopWords.stop] = 1;
        words[loopWords.reason] = 4;
        return false;
      }
      const length = words[loopWords.length]! + 1;
      history!.data[length] = token;
      if (token < vocabSize) {
        counts!.data[token]! += 1;
        counts!.data[vocabSize + token]! += 1;
      }
      words[loopWords.length] = length;
      words[loopWords.anchor] = token;
      words[loopWords.produced]! += 1;
      words[loopWords.budget]! -= 1;
      let reason = length + 1 >= history!.data.length ? 3 : 0;
      if (words[loopWords.budget] === 0) reason = 2;
      if (stops.includes(token)) reason = 1;
      words[loopWords.reason] = reason;
      if (stopTime === 'at once') words[loopWords.stop] = Math.min(reason, 1);
      return reason === 0;
    };
    const used = rows ? Math.min(Math.max(rows.data[0]!, 1), width) : 1;
    const count = accepted ? Math.min(Math.max(accepted.data[0]!, 1), used) : 1;
    words[loopWords.rounds]! += 1;
    words[loopWords.drafted]! += used - 1;
    words[loopWords.accepted]! += count - 1;
    words[loopLayout.proposalCount] = used;
    words[loopLayout.proposalAccepted] = count;
    words[loopLayout.proposalNext] = next!.data[0]!;
    words[loopLayout.proposalBranches] = Number(!chain);
    words[loopLayout.proposal] = words[loopWords.anchor]!;
    const rowsOfPath = Array.from({ length: count }, (_, i) => Math.min(path?.data[i] ?? 0, width - 1));
    if (tokens) {
      words.set(tokens.data.subarray(0, used), loopLayout.proposal);
      words.set(rowsOfPath, loopLayout.proposalPath);
    }
    const last = rowsOfPath.at(-1)!;
    const parents = words.subarray(loopLayout.proposalParents + 1, loopLayout.proposalParents + used);
    const verifiedBehind = chain ? last + 1 < used : parents.includes(last);
    const reached = Math.min(count - 1 + Number(verifiedBehind), maxDepths);
    for (let d = 0; d < reached; d++) words[loopLayout.draftedAtDepth + d]! += 1;
    for (let d = 1; d < Math.min(count, maxDepths + 1); d++) words[loopLayout.acceptedAtDepth + d - 1]! += 1;
    let going = true;
    for (let i = 1; i < count && going; i++) going = emit(tokens!.data[rowsOfPath[i]!]!);
    if (going) emit(next!.data[0]!);
    return [u32Array([words[loopWords.produced]! - before])];
  },
  lower(lowering, node) {
    const [next, loop, history, counts, tokens, rows, path, accepted] = node.operands as readonly Operand[];
    const capacity = (history as State).shape[0]!;
    const vocabSize = (counts as State).shape[1]!;
    const shared = {
      next: lowering.tensor(next!),
      words: lowering.state(loop!),
      history: lowering.state(history!),
      kept: lowering.tensor(node.outputs[0]!),
    };
    if (!tokens) {
      lowering.dispatch(keepOneKernel, {
        constants: { capacity, vocabSize, stops: node.attributes.stops },
        bindings: { ...shared, counts: lowering.state(counts!) },
        workgroups: [1, 1, 1],
      });
      return;
    }
    lowering.dispatch(keepTreeKernel, {
      constants: { capacity, ...node.attributes },
      bindings: {
        ...shared,
        tokens: lowering.tensor(tokens),
        rows: lowering.tensor(rows!),
        path: lowering.tensor(path!),
        accepted: lowering.tensor(accepted!),
      },
      workgroups: [1, 1, 1],
    });
    lowering.dispatch(countKeptKernel, {
      constants: { vocabSize },
      bindings: {
        kept: shared.kept,
        loopState: shared.words,
        history: shared.history,
        counts: lowering.state(counts!),
      },
      workgroups: [1, 1, 1],
    });
  },
});

/**
 * Appends what a verifier accepted to the history and counts it, up to the first stop token, the budget or the capacity.
 *
 * @param stops - When `stop` is set; `at once` by default. A token that is no number stops at once in any case.
 * @returns `[1]` u32: rows of the path that stay in the cache; equal to the tokens that were kept.
 */
export function keep(tree: TokenTree, accepted: Accepted, states: LoopStates, stops: StopTime = 'at once'): Tensor {
  const operands: Operand[] = [accepted.next, states.loop, states.history, states.sampling.counts];
  if (tree.width > 1) operands.push(tree.tokens, tree.count, accepted.path, accepted.count);
  return accepted.next.graph.apply(keepOperation, operands, {
    width: tree.width,
    chain: tree.chain || !tree.parents,
    stops,
  })[0]!;
}
