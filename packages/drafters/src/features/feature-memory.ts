import type { DecoderState, DrafterState, Past, Rows } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import {
  concat,
  gatherRows,
  type Graph,
  readState,
  reduce,
  State,
  type Tensor,
  writeRows,
  writeState,
} from '@forerun/tensor';
import type { KnownRows } from './known-rows.ts';

/** Rows beyond the capacity, for drafts past the last token that can be kept. */
export const slackRows = 64;

/** Position of a value that is not there. */
const nowhere = 0xffff_ffff;

/** What a drafter keeps besides the last rows: a cache that a layer of its own fills. */
interface FeatureMemoryParts {
  /** Begins the names of its states. */
  readonly name: string;
  readonly capacityTokens: number;
  /** Widths of the values of the last known row that are kept, by name. */
  readonly values: Readonly<Record<string, number>>;
  readonly cache?: DecoderState;
}

/**
 * What a drafter remembers of the target's hidden states: values of the last known row, and the cache of a layer that saw all known
 * rows. Rounds without the drafter leave gaps; rows then close up in the cache and keep their positions, and nothing is proposed until a
 * row is known right before the anchor.
 */
export class FeatureMemory implements DrafterState {
  readonly states: readonly State[];
  readonly cache: DecoderState | undefined;
  readonly #values: ReadonlyMap<string, State>;
  /** `[1]` u32: position behind the row whose values are kept. */
  readonly #reach: State;
  /** `[1]` u32: rows in the cache. */
  readonly #fed: State;
  /** `[capacity, 1]` u32: position of each row of the cache. */
  readonly #positions: State;

  constructor({ name, capacityTokens, values, cache }: FeatureMemoryParts) {
    this.cache = cache;
    this.#values = new Map(
      Object.entries(values).map(([value, width]) => [
        value,
        new State({ name: `${name} ${value}`, shape: [1, width], dtype: 'f32' }),
      ]),
    );
    this.#reach = new State({ name: `${name} reach`, shape: [1], dtype: 'u32', init: { fill: nowhere } });
    this.#fed = new State({ name: `${name} fed`, shape: [1], dtype: 'u32' });
    this.#positions = new State({ name: `${name} positions`, shape: [capacityTokens + slackRows, 1], dtype: 'u32' });
    const cached = cache ? [...cache.states, this.#fed, this.#positions] : [];
    this.states = [...this.#values.values(), this.#reach, ...cached];
  }

  /** Known rows as rows of the cache's layer. */
  rowsOf({ positions, spans, count }: KnownRows, inputs: Tensor): Rows {
    const indexes = positions.graph.constant(Uint32Array.from({ length: positions.shape[0]! }, (_, row) => row));
    const length = readState(positions.graph, this.#fed);
    const slots = length.add(indexes);
    return { inputs, positions, depths: slots, slots, spans, count, length };
  }

  /** The row `step` (from 0) behind the last known one, where `round.length` is the anchor's position. */
  stepRow(length: Tensor, inputs: Tensor, { step, count }: { readonly step: number; readonly count: Tensor }): Rows {
    const slots = readState(length.graph, this.#fed).add(step);
    const positions = length.add(step);
    return { inputs, positions, depths: slots, slots, spans: positions.add(1), count, length: slots };
  }

  /**
   * Rows of one level of a draft tree: they lie behind the known rows in the cache, and each sees the known rows, its ancestors and itself.
   *
   * @param inputs - `[M]` u32 tokens of the nodes.
   * @param level.depth - Depth of the nodes under the anchor, from 1.
   * @param level.begin - Rows of the levels above.
   * @param level.above - `[M, depth - 1]` u32: where the ancestors of each row lie, counted from the end of the known rows; none at depth 1.
   * @param level.ready - `[1]` u32: 0 where no row is in use.
   * @returns `rows`, and `places` `[M, depth]` u32: as `above`, each row itself included.
   */
  levelRows(
    length: Tensor,
    inputs: Tensor,
    level: { readonly depth: number; readonly begin: number; readonly above?: Tensor; readonly ready: Tensor },
  ): { readonly rows: Rows; readonly places: Tensor } {
    const { depth, begin, above, ready } = level;
    const { graph } = length;
    const M = inputs.shape[0]!;
    const own = graph.constant(Uint32Array.from({ length: M }, (_, row) => begin + row));
    const places = above ? concat([above, own.reshape([M, 1])], 1) : own.reshape([M, 1]);
    const fed = readState(graph, this.#fed);
    const steps = graph.constant(new Uint32Array(M).fill(depth - 1));
    const positions = steps.add(length);
    const rows: Rows = {
      inputs,
      positions,
      depths: steps.add(fed),
      slots: own.add(fed),
      spans: positions.add(1),
      count: ready.mul(M),
      length: fed,
      path: places.add(fed),
    };
    return { rows, places };
  }

  /** Counts known rows as kept, and keeps `values` `[M, width]` of the last of them. */
  keep(known: KnownRows, values: Readonly<Record<string, Tensor>>): void {
    const { positions, count, begin } = known;
    const { graph } = positions;
    const any = count.min(1);
    const last = count.max(1).sub(1);
    for (const [name, rows] of Object.entries(values)) {
      const state = this.#values.get(name)!;
      writeState(state, any.reshape([1, 1]).select(gatherRows(rows, last), readState(graph, state)));
    }
    writeState(this.#reach, any.select(begin.add(count), readState(graph, this.#reach)));
    if (!this.cache) return;
    const M = positions.shape[0]!;
    const indexes = graph.constant(Uint32Array.from({ length: M }, (_, row) => row));
    const fed = readState(graph, this.#fed);
    writeRows(this.#positions, positions.reshape([M, 1]), { slots: fed.add(indexes), count });
    this.cache.commit({ path: indexes, count, length: fed, tree: false });
    writeState(this.#fed, fed.add(count));
  }

  /** `[1]` u32: 1 if the values kept are those of the row right before the anchor at `length`, else 0. */
  ready(length: Tensor): Tensor {
    return readState(length.graph, this.#reach).equal(length);
  }

  /** `[1, width]`: a value of the last known row. */
  value(graph: Graph, name: string): Tensor {
    return readState(graph, this.#values.get(name)!);
  }

  truncate(to: Tensor): void {
    const { graph } = to;
    const reach = readState(graph, this.#reach);
    writeState(this.#reach, to.less(reach).select(graph.constant(Uint32Array.of(nowhere)), reach));
    if (!this.cache) return;
    const rows = this.#positions.shape[0]!;
    const fed = readState(graph, this.#fed);
    const indexes = graph.constant(Uint32Array.from({ length: rows }, (_, row) => row));
    const kept = readState(graph, this.#positions).reshape([rows]).less(to).mul(indexes.less(fed));
    const left = reduce(kept, 'sum', { keepDims: true });
    this.cache.truncate(left);
    writeState(this.#fed, left);
  }

  reachable(length: number, past: Past): number {
    return this.cache?.reachable(length, { ...past, marks: [] }) ?? length;
  }
}

/** Refuses a conversation that is longer than a head was made for. */
export function expectCapacity(what: string, maxPositions: number, capacityTokens: number): void {
  if (capacityTokens <= maxPositions) return;
  throw new MismatchedPartsError(
    `${what} was made for ${maxPositions} tokens, the conversation is to hold ${capacityTokens}. Ask for a smaller capacity or another head.`,
  );
}
