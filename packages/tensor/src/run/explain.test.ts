import { describe, expect, it } from 'vitest';
import { compile } from '../compile/compile.ts';
import { ArgumentError } from '../errors.ts';
import { trace } from '../graph/graph.ts';
import { State } from '../graph/state.ts';
import { testDevice } from '../harness/index.ts';
import { reduce } from '../ops/reduce/reduce.ts';
import { readState } from '../ops/state-slice/state-slice.ts';
import { writeState } from '../ops/write-state/write-state.ts';
import { explain, explanationText } from './explain.ts';
import type { Program } from './program.ts';
import { profile } from './profiler.ts';
import { StateBuffers } from './state-buffers.ts';

const device = await testDevice();
const ring = new State({ name: 'ring', shape: [8], dtype: 'f32' });

async function program(fusion = true): Promise<Program> {
  const graph = trace((traced) => {
    const x = traced.input('x', [3, 100]);
    const unused = x.mul(2);
    traced.output('sum', reduce(x.abs().sqrt(), 'sum'));
    writeState(ring, readState(traced, ring).add(1));
    return unused;
  });
  return compile(graph, { device, name: 'explained', fusion });
}

describe('explain', () => {
  it('says what was fused, and leaves out what nothing needs', async () => {
    const fused = explain(await program());
    expect(fused.operations).toBe(6);
    expect(fused.fusions).toContainEqual({ into: 'reduce', operations: ['elementwise', 'elementwise', 'reduce'] });
    expect(fused.dispatches.map(({ label }) => label)).toContain('reduce sum');
    const plain = explain(await program(false));
    expect(plain.fusions).toEqual([]);
    expect(plain.totals.dispatches).toBe(6);
    expect(fused.totals.dispatches).toBe(3);
  });

  it('counts bytes and FLOPs, and survives JSON', async () => {
    const explanation = explain(await program());
    const reduction = explanation.dispatches.find(({ label }) => label === 'reduce sum')!;
    expect(reduction.bytes).toBe(4 * (300 + 3));
    expect(reduction.flops).toBe(300 * 3);
    expect(reduction.workgroups).toEqual([3, 1, 1]);
    expect(explanation.memory.stateBytes).toBe(32);
    expect(JSON.parse(JSON.stringify(explanation))).toEqual(explanation);
  });

  it('compares measured times with the memory floor', async () => {
    const compiled = await program();
    const states = new StateBuffers(device, compiled.states);
    const measured = await profile(compiled, { states, repeats: 3 });
    const explanation = explain(compiled, { profile: measured, bytesPerSecond: 1e9 });
    const slow = explanation.dispatches.find(({ microseconds }) => microseconds! > 0)!;
    expect(slow.floorFraction).toBeCloseTo(slow.bytesPerSecond! / 1e9, 6);
    expect(explanation.totals.microseconds).toBeCloseTo(measured.nanoseconds / 1e3, 6);
    const text = explanationText(explanation);
    expect(text).toContain('of the memory floor');
    expect(text).toContain('reduce <- elementwise, elementwise, reduce');
    expect(text.split('\n').at(-1)).toMatch(/^2 {2}\S/);
    states.destroy();
  });

  it('prints without a profile too', async () => {
    const text = explanationText(explain(await program(false)));
    expect(text).toContain('fused: nothing');
    expect(text).not.toContain('of floor');
    expect(text).toContain('6.20 kB');
    expect(text).toContain('6 operations in 6 dispatches at bound 0');
  });

  it('refuses the profile of another bound', async () => {
    const compiled = await program();
    const states = new StateBuffers(device, compiled.states);
    const measured = await profile(compiled, { states, repeats: 1, bound: 7 });
    expect(() => explain(compiled, { profile: measured, bound: 8 })).toThrow(ArgumentError);
    states.destroy();
  });
});
