import type { Rows } from '@forerun/contracts';
import type { HostArray, Tensor } from '@forerun/tensor';
import { ArgumentError, Commands, compile, StateBuffers, trace } from '@forerun/tensor';
import { randomSource, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import type { AttentionLayer, AttentionState } from '../attention.ts';
import { softmaxAttention } from './softmax.ts';

const device = await testDevice();
const [heads, kvHeads, headDim, capacityTokens] = [4, 2, 16, 48];
const layers: readonly AttentionLayer[] = [
  { kvHeads, headDim },
  { kvHeads, headDim, window: 6, softcap: 20, scale: 0.3 },
];

/** Queries, keys and values of token `id` in every layer. */
function tokenHeads(id: number): { q: number[]; k: number[]; v: number[] } {
  const random = randomSource(id + 1);
  const draw = (count: number) => Array.from({ length: count }, () => Math.fround(random.normal()));
  return { q: draw(heads * headDim), k: draw(kvHeads * headDim), v: draw(kvHeads * headDim) };
}

interface Pass {
  readonly tokens: readonly number[];
  readonly length: number;
  readonly count?: number;
  /** Parent of each row, for a tree. */
  readonly parents?: readonly number[];
  /** Rows to keep afterwards. */
  readonly accepted?: readonly number[];
}

/** One conversation over a state. */
class Conversation {
  readonly #state: AttentionState;
  readonly #buffers: StateBuffers;

  constructor(cache: 'f32' | 'f16', { capacity = capacityTokens, rollbackTokens = 0, passTokens = 64 } = {}) {
    this.#state = softmaxAttention(layers, capacity, { rollbackTokens, passTokens, cache });
    this.#buffers = new StateBuffers(device, this.#state.states);
  }

  /** Runs a pass and returns the rows of both layers. */
  async run({ tokens, length, count = tokens.length, parents, accepted }: Pass): Promise<readonly HostArray[]> {
    const all = tokens.map(tokenHeads);
    const M = tokens.length;
    const ancestors = (row: number): number[] => (row === 0 ? [0] : [...ancestors(parents![row]!), row]);
    const paths = parents && tokens.map((_, row) => ancestors(row));
    const maxDepth = Math.max(1, ...(paths ?? []).map((path) => path.length));
    const graph = trace((g) => {
      const u32 = (data: readonly number[], shape = [data.length]): Tensor => g.constant(Uint32Array.from(data), shape);
      const f32 = (part: 'q' | 'k' | 'v', count: number) =>
        g.constant(Float32Array.from(all.flatMap((token) => token[part])), [M, count, headDim]);
      const rows: Rows = {
        inputs: u32(tokens),
        positions: u32(tokens),
        depths: u32(tokens.map((_, row) => length + (paths ? paths[row]!.length - 1 : row))),
        slots: u32(tokens.map((_, row) => length + row)),
        spans: u32(tokens),
        count: u32([count]),
        length: u32([length]),
        ...(paths
          ? {
              path: u32(
                paths.flatMap((path) => Array.from({ length: maxDepth }, (_, at) => length + (path[at] ?? 0))),
                [M, maxDepth],
              ),
            }
          : {}),
      };
      layers.forEach((_, layer) => {
        g.output(
          `${layer}`,
          this.#state.attend(layer, { q: f32('q', heads), k: f32('k', kvHeads), v: f32('v', kvHeads) }, rows),
        );
      });
      if (accepted) {
        const path = u32([...accepted, ...Array.from({ length: M - accepted.length }, () => 0)]);
        this.#state.commit({ path, count: u32([accepted.length]), length: rows.length, tree: parents !== undefined });
      }
    });
    const program = await compile(graph, { device, name: 'pass' });
    const commands = new Commands(device).run(program, { states: this.#buffers, bound: length + M });
    const reads = layers.map((_, layer) => commands.read(program, `${layer}`));
    commands.submit();
    return Promise.all(reads);
  }

  /** The first `tokens` slots of every state. */
  async kept(tokens: number): Promise<readonly HostArray[]> {
    return Promise.all(
      this.#state.states.map((state) => this.#buffers.read(state, 0, tokens * state.shape[1]! * state.shape[2]!)),
    );
  }
}

const row = (outputs: readonly HostArray[], index: number) =>
  outputs.map((output) => output.slice(index * heads * headDim, (index + 1) * heads * headDim));
const prompt = Array.from({ length: 10 }, (_, i) => i);

describe.each(['f32', 'f16'] as const)('softmax attention over a cache in %s', (cache) => {
  it('gives the same rows in one pass and in several', async () => {
    const [whole, pieces] = [new Conversation(cache), new Conversation(cache)];
    const once = await whole.run({ tokens: [...prompt, 20, 21], length: 0 });
    await pieces.run({ tokens: prompt, length: 0 });
    const later = await pieces.run({ tokens: [20, 21], length: 10 });
    expect(row(later, 1)).toEqual(row(once, 11));
    expect(await pieces.kept(12)).toEqual(await whole.kept(12));
  });

  it('keeps of a tree what a chain would have kept', async () => {
    const [chain, tree] = [new Conversation(cache), new Conversation(cache)];
    await chain.run({ tokens: prompt, length: 0 });
    await tree.run({ tokens: prompt, length: 0 });
    const expected = await chain.run({ tokens: [20, 21, 22], length: 10 });
    const verified = await tree.run({
      tokens: [20, 90, 21, 91, 22, 92],
      parents: [0, 0, 0, 1, 2, 3],
      length: 10,
      accepted: [0, 2, 4],
    });
    [0, 2, 4].forEach((at, i) => expect(row(verified, at)).toEqual(row(expected, i)));
    expect(await tree.kept(13)).toEqual(await chain.kept(13));
    expect(await tree.run({ tokens: [23], length: 13 })).toEqual(await chain.run({ tokens: [23], length: 13 }));
  });

  it('goes back by counting fewer tokens', async () => {
    const [straight, undone] = [new Conversation(cache), new Conversation(cache)];
    await straight.run({ tokens: prompt, length: 0 });
    await undone.run({ tokens: prompt, length: 0 });
    await undone.run({ tokens: [70, 71, 72, 73], length: 10 });
    expect(await undone.run({ tokens: [20], length: 10 })).toEqual(await straight.run({ tokens: [20], length: 10 }));
  });

  it('leaves no trace of padded rows', async () => {
    const [plain, padded] = [new Conversation(cache), new Conversation(cache)];
    const expected = await plain.run({ tokens: prompt, length: 0 });
    const outputs = await padded.run({ tokens: [...prompt, 60, 61, 62], length: 0, count: 10 });
    expect(row(outputs, 9)).toEqual(row(expected, 9));
    expect(row(outputs, 10).every((values) => values.every((value) => value === 0))).toBe(true);
    expect(await padded.kept(20)).toEqual(await plain.kept(20));
  });
});

describe('a window over a ring', () => {
  it('gives the rows of a cache of everything, over passes, trees and tokens taken back', async () => {
    const [ring, whole] = [
      new Conversation('f32', { capacity: 300 }),
      new Conversation('f32', { capacity: 300, rollbackTokens: 300 }),
    ];
    const both = async (pass: Pass) => {
      const [one, other] = [await ring.run(pass), await whole.run(pass)];
      expect(one).toEqual(other);
    };
    const tokensFrom = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);
    // The ring has 5 + 64 slots: it goes round twice, with and without a tree over its end.
    for (let at = 0; at < 138; at += 46) await both({ tokens: tokensFrom(at, 46), length: at });
    await both({ tokens: tokensFrom(200, 5), length: 136, parents: [0, 0, 0, 1, 2], accepted: [0, 2, 4] });
    await both({ tokens: tokensFrom(300, 4), length: 139 });
    await both({ tokens: tokensFrom(400, 6), length: 120, count: 4 });
    await both({ tokens: tokensFrom(500, 3), length: 124 });
  });

  it('can go back by what it reaches, or to the beginning', () => {
    const state = softmaxAttention(layers, 1000, { rollbackTokens: 20, passTokens: 30 });
    expect(state.states.map(({ shape }) => shape[0])).toEqual([1000, 1000, 89, 89]);
    const reached = (length: number, past: object) =>
      state.reachable(length, { restored: 0, written: 200, marks: [], ...past });
    expect([reached(200, {}), reached(116, {}), reached(115, {})]).toEqual([200, 116, 0]);
    expect([reached(50, { written: 84 }), reached(0, { written: 84 })]).toEqual([50, 0]);
    const long = softmaxAttention(layers, 1000, { rollbackTokens: 20, passTokens: 512 });
    expect(long.states.map(({ shape }) => shape[0])).toEqual([1000, 1000, 517, 517]);
  });

  it('refuses passes that it cannot hold', async () => {
    const wide = new Conversation('f32', { capacity: 300 });
    await expect(wide.run({ tokens: Array.from({ length: 65 }, (_, i) => i), length: 0 })).rejects.toThrow(
      /at most 64 rows.*got 65.*passTokens: 65/,
    );
  });
});

describe('softmaxAttention', () => {
  it('names its states and says how far it can go back', () => {
    const state = softmaxAttention(layers, 32, { rollbackTokens: 0, name: 'draft' });
    expect(state.states.map(({ name }) => name)).toEqual([
      'draft.0.keys',
      'draft.0.values',
      'draft.1.keys',
      'draft.1.values',
    ]);
    const past = { restored: 0, written: 32, marks: [] };
    expect([state.reachable(7, past), state.reachable(50, past)]).toEqual([7, 32]);
  });

  it('refuses capacities and widths that cannot be', () => {
    expect(() => softmaxAttention(layers, 0, { rollbackTokens: 0 })).toThrow(ArgumentError);
    expect(() => softmaxAttention(layers, 1.5, { rollbackTokens: 0 })).toThrow(ArgumentError);
    expect(() => softmaxAttention([{ kvHeads: 1, headDim: 5 }], 8, { rollbackTokens: 0, cache: 'f16' })).toThrow(
      ArgumentError,
    );
  });
});
