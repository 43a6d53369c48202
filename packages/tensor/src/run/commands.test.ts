import { expect, it } from 'vitest';
import { compile } from '../compile/compile.ts';
import { trace } from '../graph/graph.ts';
import { testDevice } from '../harness/index.ts';
import { softmax } from '../ops/softmax/softmax.ts';
import { Commands } from './commands.ts';
import { WeightStore } from './weight-store.ts';

const device = await testDevice();

it('a program run in parts, a submit each, computes what it does at once', async () => {
  const steps = 7;
  const graph = trace((t) => {
    let x = t.input('x', [3, 40]);
    for (let step = 0; step < steps; step++) x = softmax(x.mul(3));
    t.output('y', x);
  });
  const program = await compile(graph, { device, name: 'parts', weights: new WeightStore(device), fusion: false });
  const inParts = async (of: number) => {
    for (let index = 0; index < of - 1; index++) new Commands(device).run(program, { part: { index, of } }).submit();
    const commands = new Commands(device).run(program, { part: { index: of - 1, of } });
    const y = commands.read(program, 'y');
    commands.submit();
    return y;
  };
  expect(program.dispatches.length).toBeGreaterThanOrEqual(steps);
  for (const of of [2, 3, program.dispatches.length, program.dispatches.length + 5]) {
    program.write(
      'x',
      Float32Array.from({ length: 120 }, (_, i) => Math.sin(i * of)),
    );
    const y = await inParts(of);
    expect(y, `${of} parts`).toEqual(await inParts(1));
    expect(new Set(y).size).toBeGreaterThan(10);
  }
  program.destroy();
});
