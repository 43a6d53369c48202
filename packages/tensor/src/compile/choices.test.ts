import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { trace } from '../graph/graph.ts';
import { defineOperation } from '../graph/operation.ts';
import type { Tensor } from '../graph/tensor.ts';
import { Weight } from '../graph/weight.ts';
import { packedUpload, packRandomWeight, randomSource, testDevice } from '../harness/index.ts';
import { kindChoice } from '../ops/linear/linear-choice.ts';
import { linear, linearOperation } from '../ops/linear/linear.ts';
import { lowerLinear } from '../ops/linear/lower-linear.ts';
import { Commands } from '../run/commands.ts';
import { explain, explanationText } from '../run/explain.ts';
import { folderChoiceStore } from '../run/choice-store.node.ts';
import { deviceChoices, deviceTimer } from '../run/time-choices.ts';
import { WeightStore } from '../run/weight-store.ts';
import type { ChoiceQuestion, ChoiceTimer } from './choices.ts';
import { ChoiceTable } from './choices.ts';
import { compile } from './compile.ts';
import { lower } from './lower.ts';

const device = await testDevice();

const question = (key: string, candidates: readonly string[]): ChoiceQuestion<string> => ({
  key,
  candidates,
  name: (candidate) => candidate,
  work: () => [],
});

/** A table whose timer says these times for everything, and counts what it is asked. */
function tableOf(times: (count: number) => readonly number[], identity = 'device') {
  const asked: number[] = [];
  const timer: ChoiceTimer = (works) => {
    asked.push(works.length);
    return Promise.resolve(times(works.length));
  };
  return { table: new ChoiceTable({ identity, timer }), asked };
}

describe('the choice table', () => {
  it('takes the default until it has measured, then the fastest, and never changes its mind', async () => {
    const { table, asked } = tableOf(() => [30, 10, 20]);
    const one = question('one', ['a', 'b', 'c']);
    expect(table.pick(one)).toBe('a');
    expect(table.pick(one)).toBe('a');
    expect(await table.measure()).toBe(true);
    expect(table.pick(one)).toBe('b');
    expect(table.pending).toBe(false);
    expect(await table.measure()).toBe(false);
    expect(asked).toEqual([3]);
    expect(table.answers).toEqual({ one: { chosen: 'b', nanoseconds: { a: 30, b: 10, c: 20 } } });
  });

  it('keeps the default where another is not clearly faster, or cannot be timed', async () => {
    for (const [times, chosen] of [
      [[100, 99], 'a'],
      [[100, Infinity], 'a'],
      [[Infinity, 100], 'b'],
      [[Infinity, Infinity], 'a'],
    ] as const) {
      const { table } = tableOf(() => times);
      table.pick(question('one', ['a', 'b']));
      await table.measure();
      expect(table.pick(question('one', ['a', 'b']))).toBe(chosen);
    }
  });

  it('asks nothing about a single candidate, and nothing at all without a timer', async () => {
    const { table, asked } = tableOf(() => [1]);
    expect(table.pick(question('one', ['a']))).toBe('a');
    const fixed = new ChoiceTable({ identity: 'device' });
    expect(fixed.pick(question('one', ['a', 'b']))).toBe('a');
    expect([await table.measure(), await fixed.measure()]).toEqual([false, false]);
    expect(asked).toEqual([]);
  });

  it('is restored on the device that it was stored on, and there alone', async () => {
    const { table } = tableOf(() => [30, 10]);
    table.pick(question('one', ['a', 'b']));
    await table.measure();
    const same = tableOf(() => [1, 2]);
    expect(same.table.restore(table.stored())).toBe(1);
    expect(same.table.pick(question('one', ['a', 'b']))).toBe('b');
    // A candidate that is no more is measured again.
    expect(same.table.pick(question('one', ['a', 'c']))).toBe('a');
    expect(same.table.pending).toBe(true);
    const other = tableOf(() => [1, 2], 'other driver').table;
    for (const text of [table.stored(), '', '{', 'null', '{"version":1}', '{"version":0,"identity":"other driver"}']) {
      expect(other.restore(text)).toBe(0);
    }
  });

  it('waits for measurements that are under way, and hands over what it knows after each', async () => {
    const kept: string[] = [];
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    const timer: ChoiceTimer = async (works) => {
      await held;
      return works.map((_, i) => 10 - 5 * i);
    };
    const table = new ChoiceTable({ identity: 'device', timer, keep: async (text) => void kept.push(text) });
    table.pick(question('one', ['a', 'b']));
    const first = table.measure();
    expect(table.pick(question('one', ['a', 'b']))).toBe('a');
    const second = table.measure();
    release();
    expect([await first, await second]).toEqual([true, true]);
    expect(table.pick(question('one', ['a', 'b']))).toBe('b');
    expect(kept.at(-1)).toBe(table.stored());
  });

  it('is one a device, and of defaults on a software adapter', async () => {
    const table = await deviceChoices(device);
    expect(await deviceChoices(device)).toBe(table);
    table.pick(question('one', ['a', 'b']));
    expect(table.pending).toBe(device.adapter.kind === 'hardware');
  });

  it('is kept in files that are complete or absent', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'choices-'));
    try {
      const store = folderChoiceStore(() => join(folder, 'deeper'));
      expect(await store.read('key')).toBeUndefined();
      await store.write('key', 'one');
      await store.write('key', 'two');
      expect(await store.read('key')).toBe('two');
      expect(await readdir(join(folder, 'deeper'))).toEqual(['key.json']);
      await writeFile(join(folder, 'file'), '');
      const none = folderChoiceStore(() => join(folder, 'file'));
      await none.write('key', 'lost');
      expect(await none.read('key')).toBeUndefined();
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('orders of sums', () => {
  /** Names of the kernels of a matrix at some numbers of rows where the table prefers an order of sums, and how often that was asked. */
  async function kernels(preferred: number) {
    let asked = 0;
    const timer: ChoiceTimer = async (works) => {
      const orders = works.length === 2 && works[0]!.length > 2;
      if (orders) asked++;
      return works.map((_, i) => (orders && i === preferred ? 1 : 2));
    };
    const table = new ChoiceTable({ identity: 'device', timer });
    const kind = { kind: 'hardware', subgroupLanes: 0, memoryBytes: 32_768 } as const;
    const operation = defineOperation({
      ...linearOperation,
      lower: (lowering, { operands, outputs }) => {
        const [x, weight] = operands as readonly [Tensor, Weight];
        const plan = { x, weights: [weight], biases: [undefined], outputs };
        lowerLinear(lowering, plan, kindChoice(kind, 'f32'));
      },
    });
    const weight = new Weight({ name: 'w', shape: [64, 512], format: 'q4' });
    const names: string[] = [];
    for (const rows of [1, 2, 5, 64]) {
      const graph = trace((traced) =>
        traced.output('y', traced.apply(operation, [traced.input('x', [rows, 512]), weight], {})[0]!),
      );
      const options = { device, weights: new WeightStore(device), arithmetic: 'f32', choices: table } as const;
      let lowered = lower(graph, graph.nodes, options);
      while (await table.measure()) lowered = lower(graph, graph.nodes, options);
      names.push(lowered.dispatches.at(-1)!.kernel.name);
    }
    return { names, asked };
  }

  it('are chosen once for a matrix, and taken at every number of rows', async () => {
    const [blocks, words] = [await kernels(0), await kernels(1)];
    for (const name of blocks.names) expect(name).toContain('matvec-blocks-');
    for (const name of words.names) expect(name).not.toContain('blocks');
    expect([blocks.asked, words.asked]).toEqual([1, 1]);
  });
});

/** Outputs of two products by a table that takes the candidate which `wanted` numbers. */
async function products(wanted: (count: number) => number, arithmetic: 'f32' | 'i8') {
  const { table, asked } = tableOf((count) => Array.from({ length: count }, (_, i) => (i === wanted(count) ? 1 : 2)));
  const packed = [7, 8].map((seed) =>
    packRandomWeight(new Weight({ name: `w${seed}`, shape: [24, 160], format: 'q4' }), randomSource(seed)),
  );
  const graph = trace((traced) => {
    const x = traced.input('x', [2, 160]);
    const [a, b] = packed.map(({ weight }) => linear(x.mul(weight === packed[0]!.weight ? 1 : 2), weight));
    traced.output('y', a!.add(b!));
  });
  const store = new WeightStore(device);
  const options = { device, name: 'chosen', weights: store, arithmetic, choices: table };
  const program = await compile(graph, options);
  const again = await compile(graph, options);
  store.allocate();
  await packedUpload(packed).upload(store);
  const random = randomSource(1);
  program.write(
    'x',
    Float32Array.from({ length: 320 }, () => random.normal()),
  );
  const commands = new Commands(device).run(program);
  const read = commands.read(program, 'y');
  commands.submit();
  const y = [...new Uint32Array((await read).buffer)];
  const explained = explain(program).dispatches.flatMap(({ choice }) => choice ?? []);
  const text = explanationText(explain(program));
  const cuts = [program, again].map((made) => made.dispatches.map(({ constants }) => JSON.stringify(constants)));
  for (const made of [program, again]) made.destroy();
  store.destroy();
  return { y, explained, text, cuts, asked };
}

describe('compiling with a choice table', () => {
  it('changes kernels and no bit, says what it took, and asks once', async () => {
    const arithmetics = device.hasLanguage('packed_4x8_integer_dot_product')
      ? (['f32', 'i8'] as const)
      : ['f32' as const];
    for (const arithmetic of arithmetics) {
      const first = await products(() => 0, arithmetic);
      const last = await products((count) => count - 1, arithmetic);
      expect(last.y).toEqual(first.y);
      expect(last.cuts[0]).not.toEqual(first.cuts[0]);
      expect(last.cuts[1]).toEqual(last.cuts[0]);
      // One of the two also adds the other, which makes it another question.
      expect(last.asked).toHaveLength(2);
      expect(last.explained.join()).toMatch(/R \d+, C \d+.* us of \d+ timed, default 0\.0 us/);
      expect(last.text).toContain(last.explained[0]);
    }
  });

  it('times candidates on the device by its own clock', async () => {
    if (!device.has('timestamp-query')) return;
    const table = new ChoiceTable({ identity: 'device', timer: deviceTimer(device) });
    const weight = new Weight({ name: 'w', shape: [24, 64], format: 'q4' });
    const graph = trace((traced) => traced.output('y', linear(traced.input('x', [1, 64]), weight)));
    const before = device.memory.total;
    const store = new WeightStore(device);
    const program = await compile(graph, { device, name: 'timed', weights: store, choices: table });
    const [answer] = Object.values(table.answers);
    expect(Object.values(answer!.nanoseconds).every((time) => Number.isFinite(time) && time >= 0)).toBe(true);
    expect(Object.keys(answer!.nanoseconds)).toContain(answer!.chosen);
    program.destroy();
    store.destroy();
    expect(device.memory.other).toBe(0);
    expect(device.memory.total).toBeLessThan(before + 65_536);
  });
});
