import { describe, expect, it } from 'vitest';
import { ArgumentError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import type { Held } from '../../harness/index.ts';
import { hold, testDevice } from '../../harness/index.ts';
import { slice } from '../slice/slice.ts';
import { writeState } from '../write-state/write-state.ts';
import { readState } from './state-slice.ts';

const device = await testDevice();

const counting = (length: number) => Array.from({ length }, (_, i) => i);

async function run(state: State, body: Held<'x'>['body'], fusion = true): Promise<number> {
  const { dispatches } = await hold(device, {
    inputs: { x: { shape: [4], data: [10, 20, 30, 40] } },
    states: new Map([[state, counting(state.byteLength / 4)]]),
    body,
    tolerance: 0,
    fusion,
  });
  return dispatches;
}

describe('readState', () => {
  const state = () => new State({ name: 'ring', shape: [3, 64], dtype: 'f32' });

  it('reads all of a state, or a range, in place', async () => {
    const ring = state();
    const dispatches = await run(ring, (_, graph) => ({
      all: readState(graph, ring).add(1),
      part: readState(graph, ring, [64, 70]).mul(2),
    }));
    expect(dispatches).toBe(2);
  });

  it('copies a range that cannot be bound alone', async () => {
    const ring = state();
    expect(await run(ring, (_, graph) => ({ y: readState(graph, ring, [3, 70]).add(1) }))).toBe(2);
  });

  it('copies what the program gives out', async () => {
    const ring = state();
    expect(await run(ring, (_, graph) => ({ y: readState(graph, ring, [64, 70]) }))).toBe(1);
    const other = state();
    expect(await run(other, (_, graph) => ({ y: readState(graph, other).reshape([192]) }))).toBe(1);
    const third = state();
    expect(await run(third, (_, graph) => ({ y: slice(readState(graph, third), 0, [1, 2]) }))).toBe(1);
  });

  it('shows the state as it was where it was read, whoever writes later', async () => {
    const ring = state();
    const dispatches = await run(ring, ({ x }, graph) => {
      const before = readState(graph, ring, [0, 4]);
      writeState(ring, x);
      return { before: before.add(0.5), after: readState(graph, ring, [0, 4]).add(0.5) };
    });
    expect(dispatches).toBe(1 + 1 + 2);
  });

  it('reads in place when every reader comes before the write', async () => {
    const ring = state();
    const dispatches = await run(ring, ({ x }, graph) => {
      const y = slice(readState(graph, ring).reshape([192]), 0, [128, 132]).add(x);
      writeState(ring, y);
      return { y };
    });
    expect(dispatches).toBe(2);
  });

  it('copies where the reader itself writes the state, or reads another name after the write', async () => {
    const ring = state();
    const moved = await run(ring, (_, graph) => writeState(ring, readState(graph, ring, [64, 128])));
    expect(moved).toBe(2);
    const other = state();
    const renamed = await run(other, ({ x }, graph) => {
      const name = readState(graph, other).reshape([192]);
      writeState(other, x);
      return { y: slice(name, 0, [64, 68]).add(1) };
    });
    expect(renamed).toBe(3);
  });

  it('gives the same without fusion', async () => {
    const ring = state();
    expect(await run(ring, (_, graph) => ({ y: readState(graph, ring).add(1) }), false)).toBe(2);
  });

  it.each([
    ['an empty range', [4, 4]],
    ['a range past the end', [190, 193]],
    ['a negative begin', [-1, 4]],
    ['a fraction', [0.5, 4]],
    ['a range backwards', [8, 4]],
  ] as const)('refuses %s', (_, range) => {
    expect(() => trace((graph) => void readState(graph, state(), range))).toThrow(ArgumentError);
  });
});
