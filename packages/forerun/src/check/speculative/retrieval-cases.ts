/** Cases of drafts that are looked up in a datastore. */
import type { Round } from '@forerun/contracts';
import { loopStateWords, loopWords } from '@forerun/contracts';
import { buildDatastore, type Datastore, maxContinuation, retrieval, type RetrievalOptions } from '@forerun/drafters';
import {
  Commands,
  compile,
  type Device,
  type HostArray,
  type Program,
  State,
  StateBuffers,
  trace,
} from '@forerun/tensor';
import { firstDifference, listDifference, numberDifference, type SpeculativeCase } from './speculative-case.ts';

interface RetrievalPath {
  readonly factor: number;
  readonly min_prob: number;
  readonly tokens: readonly number[];
  readonly probabilities: readonly number[];
  readonly score: number;
}

interface RetrievalQuery {
  readonly context: readonly number[];
  readonly max_span: number;
  readonly min_span: number;
  readonly long: number;
  readonly budget: number;
  readonly match_length: number;
  readonly occurrences?: readonly number[];
  readonly n_prefixes?: number;
  readonly tree?: {
    readonly tokens: readonly number[];
    /** -1 for children of the anchor, else the node's place in these lists. */
    readonly parents: readonly number[];
    readonly counts: readonly number[];
    readonly depths: readonly number[];
  };
  readonly paths?: readonly RetrievalPath[];
}

/** What the drafter proposed, and from what. */
interface Proposed {
  readonly tokens: readonly number[];
  readonly parents: readonly number[];
  readonly depths: readonly number[];
  /** How often each row was seen. */
  readonly seen: readonly number[];
  /** Places that were counted, those of them that something follows, and how many tokens matched. */
  readonly places: number;
  readonly occurrences: readonly number[];
  readonly matched: number;
  /** Nodes of the whole trie. */
  readonly nodes: number;
}

const outputs = ['tokens', 'parents', 'picked', 'count', 'begins', 'found', 'counts'] as const;

/** Programs of the drafter over one datastore, one for each setting. */
class Lookups {
  readonly #device: Device;
  readonly #datastore: Datastore;
  readonly #programs = new Map<string, Promise<Program>>();
  readonly #history: State;
  readonly #loop = new State({ name: 'loop', shape: [loopStateWords], dtype: 'u32' });
  readonly #buffers: StateBuffers;

  constructor(device: Device, datastore: Datastore, capacity: number) {
    this.#device = device;
    this.#datastore = datastore;
    this.#history = new State({ name: 'history', shape: [capacity], dtype: 'u32' });
    this.#buffers = new StateBuffers(device, [this.#history, this.#loop]);
  }

  async propose(context: readonly number[], options: RetrievalOptions & { width: number }): Promise<Proposed> {
    const key = JSON.stringify(options);
    const made = this.#programs.get(key) ?? this.#compile(options);
    this.#programs.set(key, made);
    const program = await made;
    const words = new Uint32Array(loopStateWords);
    words[loopWords.length] = context.length - 1;
    this.#buffers.write(this.#history, Uint32Array.from(context));
    this.#buffers.write(this.#loop, words);
    program.write('anchor', Uint32Array.of(context.at(-1)!));
    const commands = new Commands(this.#device).run(program, { states: this.#buffers });
    const reads = outputs.map((name) => commands.read(program, name));
    commands.submit();
    const [tokens, parents, picked, count, begins, found, counts] = (await Promise.all(reads)) as [
      HostArray,
      HostArray,
      HostArray,
      HostArray,
      HostArray,
      HostArray,
      HostArray,
    ];
    const rows = Array.from({ length: count[0]! }, (_, row) => row).slice(1);
    const [places, matched] = found;
    const longest = counts.length / begins.length;
    return {
      tokens: rows.map((row) => tokens[row]!),
      parents: rows.map((row) => parents[row]! - 1),
      depths: rows.map((row) => picked[3 * row + 1]!),
      seen: rows.map((row) => picked[3 * row + 2]!),
      places: places!,
      occurrences: Array.from(begins.subarray(0, places))
        .filter((begin) => begin < this.#datastore.tokens.length - 1)
        .map((begin) => begin - matched!)
        .sort((a, b) => a - b),
      matched: matched!,
      nodes: Array.from(counts.subarray(0, places! * longest)).filter((one) => one > 0).length,
    };
  }

  #compile({ width, ...options }: RetrievalOptions & { width: number }): Promise<Program> {
    const drafter = retrieval(this.#datastore, options);
    const graph = trace((traced) => {
      const round = { width, history: this.#history, loop: this.#loop, anchor: traced.input('anchor', [1], 'u32') };
      const { tokens, parents, picked, count, counts, places } = drafter.propose(round as unknown as Round);
      const chain = traced.constant(Uint32Array.from({ length: width }, (_, row) => Math.max(row, 1) - 1));
      const { begins, found } = places;
      const all = { tokens, parents: parents ?? chain, picked, count, begins, found, counts };
      for (const name of outputs) traced.output(name, all[name]);
    });
    return compile(graph, { device: this.#device, name: 'retrieval' });
  }

  async destroy(): Promise<void> {
    for (const program of await Promise.all(this.#programs.values())) program.destroy();
    this.#buffers.destroy();
  }
}

/** Longest matches, their places and counts, trees of the most frequent nodes and most frequent paths. */
export async function retrievalCase(one: SpeculativeCase): Promise<string | undefined> {
  const { data } = await one.tensor('corpus');
  const queries = one.facts['queries'] as readonly RetrievalQuery[];
  const capacity = Math.max(1, ...queries.map(({ context }) => context.length));
  const lookups = new Lookups(one.device, buildDatastore(data), capacity);
  let index = 0;
  try {
    return await firstDifference(queries, async (query) => {
      const what = `query ${index++}`;
      return (await treeDifference(what, lookups, query)) ?? (await pathsDifference(what, lookups, query));
    });
  } finally {
    await lookups.destroy();
  }
}

async function treeDifference(what: string, lookups: Lookups, query: RetrievalQuery): Promise<string | undefined> {
  const got = await lookups.propose(query.context, {
    longestMatch: query.max_span,
    shortestMatch: query.min_span,
    longest: query.long,
    width: query.budget + 1,
  });
  const want = query.tree ?? { tokens: [], parents: [], counts: [], depths: [] };
  return (
    listDifference(`${what}, length of the match`, [got.matched], [query.match_length]) ??
    listDifference(`${what}, occurrences`, got.occurrences, query.occurrences ?? []) ??
    listDifference(`${what}, prefixes`, [got.nodes], [query.n_prefixes ?? 0]) ??
    listDifference(`${what}, tokens`, got.tokens, want.tokens) ??
    listDifference(`${what}, parents`, got.parents, want.parents) ??
    listDifference(`${what}, depths`, got.depths, want.depths) ??
    listDifference(`${what}, counts`, got.seen, want.counts)
  );
}

async function pathsDifference(what: string, lookups: Lookups, query: RetrievalQuery): Promise<string | undefined> {
  for (const path of query.paths ?? []) {
    const { factor, min_prob: minProbability } = path;
    const longest = Math.min(Math.max(1, Math.floor(factor * query.max_span)), maxContinuation);
    const { tokens, seen, places } = await lookups.propose(query.context, {
      longestMatch: query.max_span,
      shortestMatch: query.min_span,
      form: 'chain',
      longest,
      factor,
      minProbability,
      width: longest + 1,
    });
    // Whether a share of exactly the least one counts is a matter of rounding where it is a product of ratios, as published code has it.
    const edge = seen.findIndex((count) => Math.abs(count / places - minProbability) < 1e-9);
    const end = edge === path.tokens.length ? edge : tokens.length;
    const shares = seen.slice(0, end).map((count) => count / places);
    const name = `${what}, path with factor ${factor} and min_prob ${minProbability}`;
    const difference =
      listDifference(`${name}, tokens`, tokens.slice(0, end), path.tokens) ??
      numberDifference(`${name}, probabilities`, { got: shares, want: path.probabilities, most: 1e-8 }) ??
      numberDifference(`${name}, score`, {
        got: [shares.reduce((sum, share) => sum + share, 0)],
        want: [path.score],
        most: 1e-6,
      });
    if (difference !== undefined) return difference;
  }
  return undefined;
}
