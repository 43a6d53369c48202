import { describe, expect, it } from 'vitest';
import { ShapeError } from '../errors.ts';
import { defineOperation, type NdArray, type Operation } from '../graph/operation.ts';
import type { Tensor } from '../graph/tensor.ts';
import { defineKernel, read, write } from '../kernel/define-kernel.ts';
import { hold, MismatchError } from './hold.ts';
import { testDevice } from './test-device.ts';

const device = await testDevice();

const doubledKernel = defineKernel({
  name: 'doubled',
  bindings: { x: read('f32'), y: write('f32') },
  wgsl: ({ written }: { written: number }) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) { if (i < ${written}u) { y[i] = x[i] * 2.0; } }`,
});

/** Doubles a vector, of which a kernel writes the first elements only, and a reference makes what it is told. */
const doubled = (written: number, reference: (x: NdArray) => readonly NdArray[]): Operation =>
  defineOperation({
    name: 'doubled',
    infer: ([x]) => [{ shape: (x as Tensor).shape, dtype: 'f32' }],
    reference: ([x]) => reference(x!),
    lower: (lowering, { operands, outputs }) =>
      lowering.dispatch(doubledKernel, {
        constants: { written },
        bindings: { x: lowering.tensor(operands[0]!), y: lowering.tensor(outputs[0]!) },
        workgroups: [1, 1, 1],
      }),
  });

const held = (operation: Operation) =>
  hold(device, {
    inputs: { x: { shape: [8] } },
    body: ({ x }) => ({ y: x.graph.apply(operation, [x], {})[0]! }),
    tolerance: 0,
  });

describe('hold', () => {
  const times = (factor: number) => (x: NdArray) => [{ ...x, data: x.data.map((value) => value * factor) }];

  it('passes what agrees', async () => {
    await expect(held(doubled(8, times(2)))).resolves.toMatchObject({ dispatches: 1 });
  });

  it('says which element is off, and which was never written', async () => {
    await expect(held(doubled(8, times(3)))).rejects.toThrow(MismatchError);
    await expect(held(doubled(8, times(3)))).rejects.toThrow(/y: relative error 3\.33e-1 .*worst at \d: expected/);
    await expect(held(doubled(5, times(2)))).rejects.toThrow(/y\[5\]: no kernel wrote it/);
  });

  it('refuses a reference that does not give what infer says', async () => {
    const none = held(doubled(8, () => []));
    await expect(none).rejects.toThrow(ShapeError);
    await expect(none).rejects.toThrow(/Reference of doubled: expected 8 elements \[8\] as output 0.*got none/);
    await expect(held(doubled(8, (x) => [{ ...x, data: x.data.slice(3) }]))).rejects.toThrow(/got 5/);
  });
});
