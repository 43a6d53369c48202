import { markSlots, type Past, type Rows } from '@forerun/contracts';
import { Commands, compile, type Graph, type Program, StateBuffers, trace, Weight, WeightStore } from '@forerun/tensor';
import { randomSource, testDevice, uploadFloats } from '@forerun/tensor/harness';
import { afterAll, describe, expect, it } from 'vitest';
import { convolutionState } from './convolution-state.ts';

const device = await testDevice();
const [D, kernelSize, rollbackTokens, layers] = [8, 4, 6, 2];
const retained = rollbackTokens + 64;
const state = convolutionState({ layers, hiddenSize: D, kernelSize }, 1000, { rollbackTokens });
const random = randomSource(4);
const values = (count: number) => Array.from({ length: count }, () => Math.fround(random.normal()));
const weight = new Weight({ name: 'conv.weight', shape: [D, 1, kernelSize], format: 'f32' });
const weights = new Map([[weight, values(D * kernelSize)]]);
const store = new WeightStore(device);
const chunk = 16;
const inputs = values(400 * D);

const program = (name: string, body: (graph: Graph) => void) => compile(trace(body), { device, name, weights: store });
const pass = await program('pass', (graph) => {
  const positions = graph.input('positions', [chunk], 'u32');
  const rows: Rows = {
    inputs: positions,
    positions,
    depths: positions,
    slots: positions,
    spans: positions,
    count: graph.input('count', [1], 'u32'),
    length: graph.input('length', [1], 'u32'),
  };
  let x = graph.input('x', [chunk, D]);
  for (let index = 0; index < layers; index++) x = state.convolve(index, x, { weight }, rows);
  graph.output('y', x);
});
const truncate = await program('truncate', (graph) => state.truncate(graph.input('length', [1], 'u32')));
const mark = await program('mark', (graph) => state.mark!(graph.input('length', [1], 'u32')));
store.allocate();
await uploadFloats(weights)(store);
afterAll(() => store.destroy());

/** A sequence that tests cut and go back in: each position's input is that of `inputs`, shifted by a variant. */
class Sequence {
  readonly buffers = new StateBuffers(device, state.states);

  /** Outputs of positions `from ..< to`. */
  async append(from: number, to: number, variant = 0): Promise<number[]> {
    const outputs: number[] = [];
    for (let at = from; at < to; at += chunk) {
      const count = Math.min(chunk, to - at);
      const x = Float32Array.from({ length: chunk * D }, (_, i) => (inputs[at * D + i] ?? 0) + variant);
      pass.write('x', x);
      pass.write(
        'positions',
        Uint32Array.from({ length: chunk }, (_, row) => at + row),
      );
      pass.write('count', Uint32Array.of(count));
      pass.write('length', Uint32Array.of(at));
      const commands = new Commands(device).run(pass, { states: this.buffers });
      const y = commands.read(pass, 'y');
      commands.submit();
      outputs.push(...(await y).subarray(0, count * D));
    }
    return outputs;
  }

  at(one: Program, length: number): void {
    one.write('length', Uint32Array.of(length));
    new Commands(device).run(one, { states: this.buffers }).submit();
  }
}

const straight = await new Sequence().append(0, 400);
const expected = (from: number, to: number) => straight.slice(from * D, to * D);

describe('the record of convolutions', () => {
  it('goes back within the ring, without a mark', async () => {
    const sequence = new Sequence();
    expect(await sequence.append(0, 200)).toEqual(expected(0, 200));
    const length = 200 - retained;
    expect(state.reachable(length, { restored: 0, written: 200, marks: [] })).toBe(length);
    expect(state.reachable(length - 1, { restored: 0, written: 200, marks: [] })).toBe(0);
    sequence.at(truncate, length);
    expect(await sequence.append(length, 260)).toEqual(expected(length, 260));
  });

  it('goes back to a mark, however far that is, and to an earlier one from there', async () => {
    const sequence = new Sequence();
    await sequence.append(0, 30);
    sequence.at(mark, 30);
    await sequence.append(30, 50);
    sequence.at(mark, 50);
    sequence.at(mark, 50);
    await sequence.append(50, 300);
    const past: Past = { restored: 0, written: 300, marks: [30, 50] };
    expect([29, 30, 49, 50, 229, 230].map((length) => state.reachable(length, past))).toEqual([0, 30, 30, 50, 50, 230]);
    sequence.at(truncate, 50);
    expect(await sequence.append(50, 300)).toEqual(expected(50, 300));
    sequence.at(truncate, 30);
    expect(await sequence.append(30, 100)).toEqual(expected(30, 100));
  });

  it('forgets marks behind the length that it goes back to', async () => {
    const sequence = new Sequence();
    await sequence.append(0, 20);
    sequence.at(mark, 20);
    await sequence.append(20, 40);
    sequence.at(mark, 40);
    sequence.at(truncate, 20);
    // Other inputs follow, so that the mark at 40 would bring back what is not there any more.
    const other = await sequence.append(20, 60, 1);
    sequence.at(truncate, 40);
    expect(await sequence.append(40, 60, 1)).toEqual(other.slice(20 * D));
  });

  it('keeps the longest marks', async () => {
    const sequence = new Sequence();
    const marks = Array.from({ length: markSlots + 1 }, (_, i) => 5 + 16 * i);
    let at = 0;
    for (const length of marks) {
      await sequence.append(at, length);
      sequence.at(mark, length);
      at = length;
    }
    await sequence.append(at, 390);
    for (const length of marks.slice(1).toReversed()) {
      sequence.at(truncate, length);
      expect(await sequence.append(length, length + 100)).toEqual(expected(length, length + 100));
    }
  });

  it('has a mark where fewer tokens are kept than a convolution sees, and begins anew at 0', async () => {
    const sequence = new Sequence();
    await sequence.append(0, 2);
    sequence.at(mark, 2);
    await sequence.append(2, 200);
    sequence.at(truncate, 2);
    expect(await sequence.append(2, 120)).toEqual(expected(2, 120));
    sequence.at(truncate, 0);
    sequence.at(mark, 0);
    expect(await sequence.append(0, 40)).toEqual(expected(0, 40));
  });

  it('holds everything where the conversation is short', () => {
    const short = convolutionState({ layers, hiddenSize: D, kernelSize }, 50, { rollbackTokens });
    expect(short.reachable(1, { restored: 0, written: 50, marks: [] })).toBe(1);
    expect(short.states.map(({ name }) => name)).toEqual([
      'convolution.0.inputs',
      'convolution.1.inputs',
      'convolution.marks',
    ]);
  });
});
