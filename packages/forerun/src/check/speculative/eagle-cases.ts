/** EAGLE's draft models: forward pass and dynamic trees. */
import type { Round, Rows, TargetOutputs } from '@forerun/contracts';
import { eagle, leafPaths, treeMask } from '@forerun/drafters';
import { eagleHead, type FeatureHead } from '@forerun/mtp';
import { type Graph, slice, State, type Tensor, writeState } from '@forerun/tensor';
import { relativeError } from '@forerun/tensor/harness';
import {
  caseCheckpoint,
  caseConstant,
  CaseGraphs,
  type CaseModel,
  caseModel,
  chainRows,
  type OwnedWeights,
} from './case-model.ts';
import {
  type CaseTensor,
  firstDifference,
  listDifference,
  normDifference,
  rowsOf,
  type SpeculativeCase,
  toleranceOf,
} from './speculative-case.ts';

interface DraftRound {
  readonly feature_rows: readonly [begin: number, end: number];
  readonly input_ids: readonly number[];
}

interface DynamicTree {
  readonly name: string;
  readonly total_token: number;
  readonly depth: number;
  readonly top_k: number;
  readonly rounds: readonly DraftRound[];
}

interface OpenHead {
  readonly one: SpeculativeCase;
  readonly model: CaseModel;
  readonly head: FeatureHead;
  readonly owned: readonly OwnedWeights[];
}

/** An EAGLE draft model of any version. */
export async function eagleDraft(one: SpeculativeCase): Promise<string | undefined> {
  const model = await caseModel(one.beside('target-llama'));
  const checkpoint = await caseCheckpoint(one.source);
  const head = await eagleHead(checkpoint, model.decoder);
  const opened = { one, model, head, owned: [model, { checkpoint, weights: head.weights }] };
  const trees = one.facts['trees'] as readonly DynamicTree[];
  return (await forwardDifference(opened)) ?? (await firstDifference(trees, (tree) => treeDifference(opened, tree)));
}

async function forwardDifference({ one, head, owned }: OpenHead): Promise<string | undefined> {
  const ids = (await one.tensor('forward.input_ids')).data;
  const features = await one.tensor('forward.features');
  const rows = (await one.tensor('forward.hidden')).shape[0]!;
  const state = head.state(rows, { rollbackTokens: 0 });
  const graphs = new CaseGraphs(one.device, { owned, states: state.states, bound: rows });
  try {
    const { hidden, logits } = await graphs.run((graph) => {
      const seen = caseConstant(graph, features, rows);
      const passed = head.forward(chainRows(graph, ids.subarray(1, rows + 1), 0), seen, state);
      return { hidden: passed.hidden, logits: head.logits(passed.hidden) };
    });
    return (
      (await normDifference(one, 'forward.hidden', hidden!)) ?? (await normDifference(one, 'forward.logits', logits!))
    );
  } finally {
    graphs.destroy();
  }
}

/** The target's outputs whose features are rows of a recorded matrix. */
function outputsOf(
  graph: Graph,
  { features, head, rows }: { features: CaseTensor; head: FeatureHead; rows: Rows },
): TargetOutputs {
  const all = caseConstant(graph, features);
  if (!head.needs.taps) return { rows, hidden: all };
  const width = features.shape[1]! / head.needs.taps.length;
  return { rows, taps: head.needs.taps.map((_, i) => slice(all, 1, [i * width, (i + 1) * width])) };
}

/** The trees of one setting: its rounds one behind the other, on one cache. */
async function treeDifference({ one, model, head, owned }: OpenHead, tree: DynamicTree): Promise<string | undefined> {
  const { name, total_token: totalTokens, top_k: topK, depth } = tree;
  const { decoder } = model;
  const features = await one.tensor(`${name}.features`);
  const capacity = features.shape[0]! + totalTokens + 1;
  // What the head gives for each level shows in the logits that it is asked for.
  let levels: Tensor[] = [];
  const observed: FeatureHead = {
    ...head,
    logits(hidden) {
      const logits = head.logits(hidden);
      levels.push(logits);
      return logits;
    },
  };
  // Upstream's depth counts the passes of the head behind the first.
  const drafter = eagle(observed, { tree: 'dynamic', depth: depth + 1, topK, totalTokens, children: 'most-likely' });
  const state = drafter.state(capacity, { rollbackTokens: 0 });
  const history = new State({ name: 'history', shape: [capacity], dtype: 'u32' });
  const loop = new State({ name: 'loop', shape: [32], dtype: 'u32' });
  const graphs = new CaseGraphs(one.device, { owned, states: [...state.states, history, loop], bound: capacity });
  try {
    return await firstDifference(
      tree.rounds.entries(),
      async ([
        index,
        {
          feature_rows: [begin, end],
          input_ids: ids,
        },
      ]) => {
        const fed = { shape: [end - begin, features.shape[1]!], data: rowsBetween(features, begin, end) };
        await graphs.run((graph) => {
          writeState(history, graph.constant(Uint32Array.from({ length: capacity }, (_, i) => ids[i] ?? 0)));
          const rows = chainRows(graph, ids.slice(begin, end), begin);
          drafter.prefill(outputsOf(graph, { features: fed, head, rows }), state, { loop, history });
          return { count: rows.count.add(0) };
        });
        levels = [];
        const got = await graphs.run((graph) => {
          const round = {
            width: totalTokens,
            anchor: graph.constant(Uint32Array.of(ids[end]!)),
            length: graph.constant(Uint32Array.of(end)),
            decoder,
          } as Partial<Round> as Round;
          const { tokens, parents, depths, count } = drafter.propose(round, state);
          return {
            tokens,
            parents: parents!,
            depths: depths!,
            count,
            ...Object.fromEntries(levels.map((logits, level) => [`level${level}`, logits])),
          };
        });
        return roundDifference(one, `${name}.${index}`, got);
      },
    );
  } finally {
    graphs.destroy();
  }
}

function rowsBetween(tensor: CaseTensor, begin: number, end: number): Float64Array {
  const width = tensor.shape[1]!;
  return tensor.data.subarray(begin * width, end * width);
}

async function roundDifference(
  one: SpeculativeCase,
  name: string,
  got: Readonly<Record<string, ArrayLike<number>>>,
): Promise<string | undefined> {
  const integers = async (part: string) => Array.from((await one.tensor(`${name}.${part}`)).data);
  const want = rowsOf(await one.tensor(`${name}.retrieve_indices`));
  const width = got['count']![0]!;
  const parents = Array.from(got['parents']!).slice(0, width);
  const paths = (list: Iterable<Iterable<number>>) =>
    Array.from(list, (path) =>
      Array.from(path)
        .filter((row) => row >= 0)
        .join(' '),
    ).sort();
  const [own, theirs] = [paths(leafPaths({ width, parents })), paths(want)];
  return (
    listDifference(`${name}, tokens`, Array.from(got['tokens']!).slice(0, width), await integers('draft_tokens')) ??
    listDifference(`${name}, depths`, Array.from(got['depths']!).slice(0, width), await integers('position_ids')) ??
    listDifference(`${name}, mask`, Array.from(treeMask({ width, parents })), await integers('tree_mask')) ??
    (own.join() === theirs.join()
      ? undefined
      : `${name}, paths: got ${own.join(', ')}, expected ${theirs.join(', ')}`) ??
    (await levelDifference(one, name, got))
  );
}

/** Logits of each level that is recorded. A drafter runs on no more beams, the best, than its tree has nodes. */
async function levelDifference(
  one: SpeculativeCase,
  name: string,
  got: Readonly<Record<string, ArrayLike<number>>>,
): Promise<string | undefined> {
  const most = toleranceOf(one);
  for (let level = 0; one.has(`${name}.level${level}_logits`); level++) {
    const logits = got[`level${level}`];
    if (!logits) return level > 0 ? undefined : `${name}: there are no logits behind the anchor`;
    const { data } = await one.tensor(`${name}.level${level}_logits`);
    const error = relativeError(logits, data.subarray(0, logits.length));
    if (!(error <= most)) return `${name}, logits of level ${level}: relative error ${error.toExponential(2)}`;
  }
  return undefined;
}
