import { describe, expect, it } from 'vitest';
import { compile } from '../compile/compile.ts';
import { trace } from '../graph/graph.ts';
import { State } from '../graph/state.ts';
import { requestDevice } from '../device/device.ts';
import { MissingFeatureError } from '../errors.ts';
import { testDevice } from '../harness/index.ts';
import { readState } from '../ops/state-slice/state-slice.ts';
import { softmax } from '../ops/softmax/softmax.ts';
import { writeState } from '../ops/write-state/write-state.ts';
import { measureBandwidth } from './bandwidth.ts';
import { Commands } from './commands.ts';
import { canProfile, median, profile } from './profiler.ts';
import { StateBuffers } from './state-buffers.ts';

const device = await testDevice();

describe('profile', () => {
  it('times each dispatch by label and section, and runs what an ordinary run does', async () => {
    expect(canProfile(device)).toBe(true);
    const counter = new State({ name: 'counter', shape: [1], dtype: 'u32' });
    const graph = trace((traced) => {
      traced.section = 'count';
      writeState(counter, readState(traced, counter).add(1));
      traced.section = 'compute';
      traced.output('y', softmax(traced.input('x', [64, 500])));
    });
    const program = await compile(graph, { device, name: 'profiled' });
    const states = new StateBuffers(device, program.states);
    program.write('x', new Float32Array(64 * 500).fill(1));
    let prepared = 0;
    const result = await profile(program, { states, repeats: 3, warmups: 2, prepare: () => void prepared++ });
    expect(prepared).toBe(5);
    expect((await states.read(counter))[0]).toBe(5);
    expect(result.dispatches.map(({ label }) => label)).toEqual(program.dispatches.map(({ label }) => label));
    expect(Object.keys(result.sections)).toEqual(['count', 'compute']);
    expect(result.sections['compute']).toBeGreaterThan(0);
    expect(result.nanoseconds).toBeCloseTo(result.sections['count']! + result.sections['compute']!, 0);
    states.destroy();
    program.destroy();
  });

  it('is also what timed commands say, by section and in all, in the submit that computes', async () => {
    const graph = trace((traced) => {
      traced.section = 'first';
      const x = softmax(traced.input('x', [64, 500]));
      traced.section = 'second';
      traced.output('y', softmax(x.add(1)));
    });
    const program = await compile(graph, { device, name: 'timed' });
    program.write('x', new Float32Array(64 * 500).fill(1));
    const commands = new Commands(device, { timed: 'sections' }).run(program);
    const output = commands.read(program, 'y');
    const times = commands.sectionMs();
    commands.submit();
    expect((await output)[0]).toBeCloseTo(1 / 500, 6);
    expect(Object.keys(await times)).toEqual(['first', 'second']);
    for (const ms of Object.values(await times)) expect(ms).toBeGreaterThan(0);
    expect(() => new Commands(device).sectionMs()).toThrow(/not timed/);
    program.destroy();
  });

  it('needs a device with timestamps, and says so', async () => {
    const portable = await requestDevice({ limits: 'portable' });
    const graph = trace((traced) => traced.output('y', traced.input('x', [4]).add(1)));
    const program = await compile(graph, { device: portable, name: 'portable' });
    await expect(profile(program)).rejects.toThrow(MissingFeatureError);
    await expect(profile(program)).rejects.toThrow(/timestamp-query/);
    program.destroy();
  });

  it('splits long programs over several query sets', async () => {
    const graph = trace((traced) => {
      let x = traced.input('x', [4]);
      for (let i = 0; i < 2100; i++) x = x.add(1);
      traced.output('y', x);
    });
    const program = await compile(graph, { device, name: 'long', fusion: false });
    const result = await profile(program, { repeats: 1, warmups: 0 });
    expect(result.dispatches).toHaveLength(2100);
    program.destroy();
  });

  it.each([
    [[3], 3],
    [[5, 1, 3], 3],
    [[4, 1, 3, 2], 2.5],
  ])('takes the median of %j', (values, expected) => expect(median(values)).toBe(expected));
});

describe('measureBandwidth', () => {
  it('measures by the device clock and by that of the host, and frees its memory', async () => {
    const before = device.memory.states;
    const timed = await measureBandwidth(device, { repeats: 3 });
    expect(timed.clock).toBe('timestamp-query');
    expect(timed.bytes).toBe(8 * 2 ** 20);
    const portable = await requestDevice({ limits: 'portable' });
    const hosted = await measureBandwidth(portable, { repeats: 3, bytes: 3e6 });
    expect(hosted.clock).toBe('host');
    for (const { bytesPerSecond } of [timed, hosted]) {
      expect(bytesPerSecond).toBeGreaterThan(1e7);
      expect(bytesPerSecond).toBeLessThan(1e14);
    }
    expect(device.memory.states).toBe(before);
  });
});
