import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../graph/tensor.ts';
import { State } from '../../graph/state.ts';
import type { ChoiceTimer } from '../../compile/choices.ts';
import { ChoiceTable } from '../../compile/choices.ts';
import { lower } from '../../compile/lower.ts';
import { trace } from '../../graph/graph.ts';
import { WeightStore } from '../../run/weight-store.ts';
import { hold, holdRowsInvariant, randomSource, testDevice } from '../../harness/index.ts';
import { packHalves } from '../append/half.ts';
import { attentionOperation } from './attention.ts';
import type { AttentionFamily } from './family.ts';
import { attentionFamilies } from './family.ts';
import { splitCandidates } from './split-question.ts';

const device = await testDevice();
/** More positions than have blocks of their own where rows are many. */
const [heads, kvHeads, dim, positions] = [4, 2, 16, 1400];
const random = randomSource(11);
const token = (): number[] => Array.from({ length: kvHeads * dim }, () => Math.fround(random.normal()));
/** Keys and values of a sequence, by position. */
const sequence = Array.from({ length: positions }, () => ({ k: token(), v: token() }));

interface Layout {
  readonly capacity: number;
  /** Slot of each position. */
  readonly slotOf: (position: number) => number;
  readonly packed?: boolean;
}

/** A cache that holds the sequence as `layout` says, and other numbers elsewhere. */
function cacheOf({ capacity, slotOf, packed = false }: Layout) {
  const states = ['k', 'v'].map(
    (name) => new State({ name, shape: [capacity, kvHeads, packed ? dim / 2 : dim], dtype: packed ? 'u32' : 'f32' }),
  );
  const contents = (['k', 'v'] as const).map((part) => {
    const slots = Array.from({ length: capacity }, token);
    sequence.forEach((entry, position) => (slots[slotOf(position)] = entry[part]));
    const flat = slots.flat();
    return packed
      ? Array.from({ length: flat.length / 2 }, (_, i) => packHalves(flat[2 * i]!, flat[2 * i + 1]!))
      : flat;
  });
  return { states: states as [State, State], contents: new Map(states.map((state, i) => [state, contents[i]!])) };
}

const chainLayout: Layout = { capacity: 1450, slotOf: (position) => position };

function apply(
  t: Readonly<Record<'q' | 'depths' | 'count' | 'length', Tensor>> & { readonly path?: Tensor },
  [keys, values]: readonly [State, State],
  options: { family: AttentionFamily; window?: number },
): Tensor {
  const operands = [t.q, keys, values, t.depths, t.count, t.length, ...(t.path ? [t.path] : [])];
  return t.q.graph.apply(attentionOperation, operands, {
    scale: 0.25,
    tree: t.path !== undefined,
    method: 'split',
    ...options,
  })[0]!;
}

const u32 = (...data: number[]) => ({ shape: [data.length], dtype: 'u32' as const, data });
const query = Array.from({ length: heads * dim }, () => Math.fround(random.normal()));

/** Bits of the query's row at position `depth`, alone. */
async function alone(
  layout: Layout,
  { depth, ...options }: { depth: number; family: AttentionFamily; window?: number; bound?: number },
) {
  const { states, contents } = cacheOf(layout);
  const { outputs } = await hold(device, {
    inputs: { q: { shape: [1, heads, dim], data: query }, depths: u32(depth), count: u32(1), length: u32(depth) },
    body: (t) => ({ y: apply(t, states, options) }),
    states: contents,
    bound: options.bound ?? depth + 1,
    tolerance: 2e-6,
  });
  return outputs['y']!;
}

/** Bits of the query's row at the end of a path through a tree of `rows` rows whose other rows go elsewhere. */
async function inTree({
  depth,
  length,
  rows,
  ...options
}: {
  depth: number;
  length: number;
  rows: number;
  family: AttentionFamily;
  window?: number;
  packed?: boolean;
}) {
  // Slots of the path's positions: some order that is neither ascending nor dense.
  const slots = Array.from({ length: rows }, (_, i) => length + ((i * 29 + 17) % rows));
  const { states, contents } = cacheOf({
    capacity: 1560,
    slotOf: (position) => (position < length ? position : (slots[position - length] ?? position + 100)),
    packed: options.packed ?? false,
  });
  const place = rows - 2;
  const depths = Array.from({ length: rows }, (_, row) =>
    row === place ? depth : length + (row % (depth - length + 1)),
  );
  const path = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: depth - length + 1 }, (_, at) =>
      row === place ? slots[at]! : length + ((row + at * 7) % rows),
    ),
  );
  const { outputs } = await hold(device, {
    inputs: {
      q: {
        shape: [rows, heads, dim],
        data: Array.from({ length: rows * heads * dim }, (_, i) =>
          Math.floor(i / query.length) === place ? query[i % query.length]! : Math.fround(random.normal()),
        ),
      },
      depths: u32(...depths),
      count: u32(rows),
      length: u32(length),
      path: { shape: [rows, depth - length + 1], dtype: 'u32', data: path.flat() },
    },
    body: (t) => ({ y: apply(t, states, options) }),
    states: contents,
    bound: depth + rows,
    tolerance: 2e-6,
  });
  return outputs['y']!.slice(place * query.length, (place + 1) * query.length);
}

/** Windows to test in each family; kernels of hardware take a software adapter long to compile. */
const windows = { hardware: [{}], software: [{}, { window: 50 }] };

describe.each(Object.entries(attentionFamilies))("a row's bits (%s family)", (kind, family) => {
  for (const options of windows[kind as keyof typeof windows] as readonly { window?: number }[]) {
    const named = options.window ? `with a window of ${options.window}` : 'without a window';

    it(`do not depend on other rows ${named}`, async () => {
      const { states, contents } = cacheOf(chainLayout);
      const depths = Array.from({ length: 64 }, (_, i) => (i === 0 ? 1360 : 1336 + i));
      await holdRowsInvariant(device, {
        rows: { q: { shape: [heads, dim] }, depths: { shape: [], dtype: 'u32', data: depths } },
        body: (t, graph) => {
          const rows = {
            count: graph.constant(Uint32Array.of(t.q.shape[0]!)),
            length: graph.constant(Uint32Array.of(1336)),
          };
          return { y: apply({ ...t, ...rows }, states, { family, ...options }) };
        },
        states: contents,
        bound: 1400,
        tolerance: 2e-6,
      });
    });

    it(`do not depend on the capacity or the bound ${named}`, async () => {
      const expected = await alone({ ...chainLayout, capacity: 1401 }, { depth: 1371, family, ...options });
      for (const [capacity, bound] of [
        [1401, 1401],
        [5000, 1450],
        [70_000, 1372],
      ] as const) {
        expect(await alone({ ...chainLayout, capacity }, { depth: 1371, family, bound, ...options })).toEqual(expected);
      }
    });

    it(`do not depend on how a tree is numbered ${named}`, async () => {
      const expected = await alone(chainLayout, { depth: 1366, family, ...options });
      for (const rows of [9, 16, 33, 64]) {
        expect(await inTree({ depth: 1366, length: 1360, rows, family, ...options })).toEqual(expected);
      }
      expect(await inTree({ depth: 1366, length: 1335, rows: 40, family, ...options })).toEqual(expected);
    });
  }

  it('do not depend on the tree where the cache is packed', async () => {
    const expected = await alone({ ...chainLayout, packed: true }, { depth: 1366, family });
    expect(await inTree({ depth: 1366, length: 1350, rows: 33, family, packed: true })).toEqual(expected);
  });
});

it.each(Object.entries(attentionFamilies))(
  'every cut of the choice table gives the same bits (%s family)',
  async (_, own) => {
    const sizes = {
      rows: 2,
      heads,
      kvHeads,
      keyDim: dim,
      valueDim: dim,
      capacity: 1400,
      ring: undefined,
      packed: false,
      window: undefined,
      maxDepth: undefined,
    };
    const cuts = splitCandidates(sizes, own);
    expect(cuts.length).toBeGreaterThan(3);
    const expected = await alone(chainLayout, { depth: 1366, family: own });
    for (const family of cuts.slice(1)) {
      expect([family.block, family.spanBlocks]).toEqual([own.block, own.spanBlocks]);
      expect(await alone(chainLayout, { depth: 1366, family }), JSON.stringify(family)).toEqual(expected);
    }
  },
);

it('the cut is asked of the choice table, once for a shape, and times full rows', async () => {
  const asked: number[][] = [];
  const timer: ChoiceTimer = async (works) => {
    asked.push(works.flatMap((work) => work.map(({ buffers }) => buffers.depths!.fill!)));
    return works.map((_, i) => works.length - i);
  };
  const table = new ChoiceTable({ identity: 'device', timer });
  const { states } = cacheOf(chainLayout);
  const graph = trace((t) => {
    const rows = { depths: t.input('depths', [1], 'u32'), count: t.input('count', [1], 'u32') };
    const length = t.input('length', [1], 'u32');
    const q = t.input('q', [1, heads, dim]);
    const options = { scale: 0.25, tree: false, method: 'split' as const };
    const once = (of: Tensor) =>
      t.apply(attentionOperation, [of, states[0], states[1], rows.depths, rows.count, length], options)[0]!;
    t.output('y', once(once(q)));
  });
  const options = { device, weights: new WeightStore(device), arithmetic: 'f32', choices: table } as const;
  let lowered = lower(graph, graph.nodes, options);
  while (await table.measure()) lowered = lower(graph, graph.nodes, options);
  expect(asked).toHaveLength(1);
  expect(asked[0]!.every((depth) => depth === 1023)).toBe(true);
  const [answer] = Object.values(table.answers);
  expect(lowered.dispatches[0]!.choice).toBe(answer!.chosen);
  expect(answer!.chosen).toBe(Object.keys(answer!.nanoseconds).at(-1));
});
