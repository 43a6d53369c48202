import { describe, expect, it } from 'vitest';
import { ArgumentError, DTypeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { State } from '../../graph/state.ts';
import { hold, testDevice } from '../../harness/index.ts';
import { writeState } from './write-state.ts';

const device = await testDevice();

describe('writeState', () => {
  it.each([
    [1, 0],
    [1, 999],
    [63, 5],
    [100, 64],
    [1000, 0],
  ])('overwrites %d elements from %d on, and nothing else', async (count, offset) => {
    const state = new State({ name: 'ring', shape: [10, 100], dtype: 'f32', init: { fill: 3 } });
    const { states } = await hold(device, {
      inputs: { x: { shape: [count] } },
      body: ({ x }) => writeState(state, x, offset),
      tolerance: 0,
    });
    expect([...states.get(state)!].filter((value) => value !== 3)).toHaveLength(count);
  });

  it.each([
    ['another dtype', DTypeError, { shape: [4], dtype: 'f32', offset: 0 }],
    ['a value that passes the end', ArgumentError, { shape: [4], dtype: 'u32', offset: 7 }],
    ['a value larger than the state', ArgumentError, { shape: [11], dtype: 'u32', offset: 0 }],
    ['a negative offset', ArgumentError, { shape: [4], dtype: 'u32', offset: -1 }],
    ['no elements', ArgumentError, { shape: [0], dtype: 'u32', offset: 0 }],
  ] as const)('refuses %s', (_, error, { shape, dtype, offset }) => {
    const state = new State({ name: 'ring', shape: [10], dtype: 'u32' });
    expect(() => trace((graph) => writeState(state, graph.input('x', shape, dtype), offset))).toThrow(error);
  });
});
