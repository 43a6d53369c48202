/** Kernels that need the optional feature shader-f16. */
import { describe, expect, it } from 'vitest';
import { compile } from '../../compile/compile.ts';
import { requestDevice } from '../../device/device.ts';
import { ArgumentError, MissingFeatureError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { Weight } from '../../graph/weight.ts';
import type { Held } from '../../harness/index.ts';
import {
  hold,
  holdRowsInvariant,
  packedUpload,
  packRandomWeight,
  randomSource,
  testDevice,
} from '../../harness/index.ts';
import { WeightStore } from '../../run/weight-store.ts';
import { rmsNorm } from '../rms-norm/rms-norm.ts';
import type { FusedLinearAttributes } from './fused-linear.ts';
import { fusedLinearKernels, fusedLinearOperation } from './fused-linear.ts';
import type { LinearChoice } from './linear-choice.ts';
import { linearChoice, preparesNorm, unitCut } from './linear-choice.ts';
import { linearDeviceKind } from './linear-device.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linear } from './linear.ts';

const device = await testDevice();
const formats: readonly WeightFormat[] = ['f16', 'q8', 'q4'];
const tolerance = 2e-3;
const { subgroupLanes } = linearDeviceKind(device);
const able = device.has('shader-f16');
const exchanges = able && subgroupLanes >= 2;
if (!able) console.info('Not run, for want of shader-f16: matvec in f16 arithmetic.');
if (!exchanges)
  console.info('Not run, for want of shader-f16 or subgroups: matvec in f16 arithmetic with subgroup exchange.');

function weightOf(format: WeightFormat, shape: readonly number[], seed = 3) {
  return packRandomWeight(new Weight({ name: `w ${format} ${seed}`, shape, format }), randomSource(seed));
}

/** Labels of the dispatches of a product in f16 arithmetic. */
async function labels(format: WeightFormat, asked: 'f32' | 'f16' | undefined, on = device): Promise<string[]> {
  const weight = new Weight({ name: 'w', shape: [8, 32], format });
  const graph = trace((traced) => traced.output('y', linear(traced.input('x', [2, 32]), weight)));
  const options = asked === undefined ? {} : { arithmetic: asked };
  const program = await compile(graph, { device: on, name: 'asked', weights: new WeightStore(on), ...options });
  const found = program.dispatches.map(({ label }) => label);
  program.destroy();
  return found;
}

/** A choice with a fixed number of lanes, cut as on hardware. */
function lanesChoice(lanes: number, subgroups: boolean): LinearChoice {
  const cut = (slots: LinearSlots) => unitCut({ kind: 'hardware', subgroupLanes: 0 }, slots);
  return {
    ...linearChoice(device),
    matvec: (slots) => ({
      ...cut(slots),
      lanes,
      workgroup: Math.min(64, cut(slots).workgroup),
      subgroups,
      arithmetic: 'f16',
    }),
    matmul: () => undefined,
    lanes: () => lanes,
    preparesNorm: (rows) => preparesNorm('hardware', rows),
  };
}

/** The fused operation with a kernel of this choice. */
function chosen(choice: LinearChoice) {
  return defineOperation<FusedLinearAttributes>({
    ...fusedLinearOperation,
    ...fusedLinearKernels(choice),
  });
}

describe('f16 arithmetic', () => {
  it('is refused by name where the device has no shader-f16', async () => {
    const portable = await requestDevice({ limits: 'portable' });
    try {
      await expect(labels('q4', 'f16', portable)).rejects.toThrow(MissingFeatureError);
      await expect(labels('q4', 'f16', portable)).rejects.toThrow(/"shader-f16".*'f32'/s);
      expect((await labels('q4', 'f32', portable)).join()).not.toContain('arithmetic-f16');
    } finally {
      portable.destroy();
    }
  });

  it('is never chosen without being asked for', async () => {
    for (const format of formats) expect((await labels(format, undefined)).join()).not.toContain('arithmetic-f16');
    await expect(labels('q4', 'f64' as never)).rejects.toThrow(ArgumentError);
  });
});

function halfTests(): void {
  it('takes kernels of its own for f16, q8 and q4, and those of f32 for other formats', async () => {
    for (const format of formats) expect((await labels(format, 'f16')).join()).toContain('arithmetic-f16-matvec-');
    for (const format of ['f32', 'bf16', 'q5_0'] as const) {
      expect((await labels(format, 'f16')).join()).not.toContain('arithmetic-f16');
    }
  });

  for (const format of formats) {
    for (const [rows, outputs, width] of [
      [1, 1, 1],
      [2, 63, 100],
      [3, 7, 63],
      [1, 100, 32],
      [5, 33, 96],
      [1, 5, 1000],
    ] as const) {
      it(`${format} [${rows}, ${width}] by [${outputs}, ${width}]`, async () => {
        const packed = weightOf(format, [outputs, width]);
        const held: Held<'x'> = {
          inputs: { x: { shape: [rows, width] } },
          body: ({ x }) => ({ y: linear(x, packed.weight) }),
          ...packedUpload([packed]),
          tolerance,
        };
        const half = await hold(device, { ...held, arithmetic: 'f16' });
        const single = await hold(device, held);
        // It must be another computation, not the f32 kernel under another name.
        if (width > 1) expect([...half.outputs.y!]).not.toEqual([...single.outputs.y!]);
      });
    }

    // Test weights in f16 go up to 2, and a sum has 8 of them.
    const largest = format === 'f16' ? 4000 : 8000;
    it(`${format}: activations of ${largest} do not overflow, and of 0.001 do not vanish`, async () => {
      const packed = weightOf(format, [40, 100]);
      for (const magnitude of [largest, 0.001]) {
        const data = Array.from({ length: 200 }, (_, i) => (i % 3 === 1 ? -magnitude : magnitude));
        await hold(device, {
          inputs: { x: { shape: [2, 100], data } },
          body: ({ x }) => ({ y: linear(x, packed.weight) }),
          ...packedUpload([packed]),
          tolerance,
          arithmetic: 'f16',
        });
      }
    });

    for (const subgroups of exchanges ? [false, true] : [false]) {
      const name = subgroups ? 'subgroups' : 'portable';
      it(`${format}: the bits of a row do not depend on its company, ${name}`, async () => {
        const packed = weightOf(format, [21, 360]);
        const lanes = subgroups ? Math.min(32, subgroupLanes) : 32;
        const operation = chosen(lanesChoice(lanes, subgroups));
        await holdRowsInvariant(device, {
          rows: { x: { shape: [360] } },
          body: ({ x }, graph) => ({
            y: graph.apply(operation, [x, packed.weight], { biased: [false], residual: false })[0]!,
          }),
          ...packedUpload([packed]),
          fusion: false,
          tolerance,
          arithmetic: 'f16',
        });
      });
    }
  }

  it('has the bits of a row alone behind a norm and in front of a gate, and in the table', async () => {
    const packed = [
      weightOf('q4', [21, 360], 1),
      weightOf('q4', [21, 360], 2),
      packRandomWeight(new Weight({ name: 'gain', shape: [360], format: 'f32' }), randomSource(3)),
    ];
    const [gate, up, gain] = packed.map(({ weight }) => weight) as [Weight, Weight, Weight];
    await holdRowsInvariant(device, {
      rows: { x: { shape: [360] } },
      body: ({ x }) => {
        const normed = rmsNorm(x, gain, { epsilon: 1e-6, offset: 1 });
        return { y: linear(normed, gate).silu().mul(linear(normed, up)) };
      },
      ...packedUpload(packed),
      tolerance,
      arithmetic: 'f16',
    });
  });

  // Without subgroups the file says above that this did not run.
  if (exchanges) it('has the same bits whether lanes exchange sums by subgroups or through memory', sameExchange);
}

async function sameExchange(): Promise<void> {
  const packed = weightOf('q4', [21, 360]);
  const lanes = Math.min(32, subgroupLanes);
  for (const rows of [1, 4]) {
    const run = (subgroups: boolean) =>
      hold(device, {
        inputs: { x: { shape: [rows, 360] } },
        body: ({ x }, graph) => ({
          y: graph.apply(chosen(lanesChoice(lanes, subgroups)), [x, packed.weight], {
            biased: [false],
            residual: false,
          })[0]!,
        }),
        ...packedUpload([packed]),
        fusion: false,
        tolerance,
        arithmetic: 'f16',
      });
    const [exchanged, portable] = [await run(true), await run(false)];
    expect([...exchanged.outputs.y!]).toEqual([...portable.outputs.y!]);
  }
}

if (able) describe('linear in f16 arithmetic', halfTests);
