/** Kernels that walk whole blocks, in every arithmetic that the device has: shader-f16 for f16, subgroups for the exchange of sums. */
import { describe, expect, it } from 'vitest';
import { compile } from '../../compile/compile.ts';
import type { Arithmetic } from '../../compile/lowering.ts';
import { requestDevice } from '../../device/device.ts';
import { MissingFeatureError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { Weight } from '../../graph/weight.ts';
import {
  hold,
  holdRowsInvariant,
  packedUpload,
  packRandomWeight,
  randomSource,
  testDevice,
} from '../../harness/index.ts';
import { WeightStore } from '../../run/weight-store.ts';
import { blockCandidates, blockCut } from './block-cut.ts';
import type { FusedLinearAttributes } from './fused-linear.ts';
import { fusedLinearKernels, fusedLinearOperation } from './fused-linear.ts';
import type { LinearChoice } from './linear-choice.ts';
import { linearChoice } from './linear-choice.ts';
import { linearDeviceKind } from './linear-device.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linear } from './linear.ts';
import type { MatvecCut } from './matvec.wgsl.ts';
import { stageWorkgroup } from './stage-rows.wgsl.ts';

const device = await testDevice();
const { subgroupLanes } = linearDeviceKind(device);
const exchangeLanes = Math.min(8, subgroupLanes);
const able: Readonly<Record<Arithmetic, boolean>> = {
  f32: true,
  f16: device.has('shader-f16'),
  i8: device.hasLanguage('packed_4x8_integer_dot_product'),
};
const tolerances: Readonly<Record<Arithmetic, number>> = { f32: 2e-6, f16: 2e-3, i8: 2e-2 };
// A software adapter with f16 compiles slowly, and the others run on one without.
const asked = device.adapter.kind === 'software' && able.f16 ? (['f16'] as const) : (['f32', 'f16', 'i8'] as const);
const arithmetics = asked.filter((arithmetic) => able[arithmetic]);
for (const name of ['f16', 'i8'] as const)
  if (!able[name]) console.info(`Not run, for want of a feature: matvec of whole blocks in ${name}.`);
if (exchangeLanes < 2) console.info('Not run, for want of subgroups: matvec of whole blocks with subgroup exchange.');

function weightOf(format: WeightFormat, shape: readonly number[], seed = 3) {
  return packRandomWeight(new Weight({ name: `w ${format} ${seed}`, shape, format }), randomSource(seed));
}

/** The fused operation, each matrix in the given cut. */
function chosen(matvec: LinearChoice['matvec']) {
  const choice: LinearChoice = { ...linearChoice(device), matvec, matmul: () => undefined };
  return defineOperation<FusedLinearAttributes>({
    ...fusedLinearOperation,
    ...fusedLinearKernels(choice),
  });
}

interface Cut extends Partial<MatvecCut> {
  readonly tiles: number;
  readonly next?: boolean;
}

const cutOf = ({ tiles, next = false, ...cut }: Cut): MatvecCut => ({
  lanes: 4,
  outputs: 2,
  rows: 1,
  ahead: 1,
  workgroup: stageWorkgroup,
  subgroups: false,
  ...cut,
  blocks: { tiles, next },
});

/** What is put around a product: a norm in front, a second matrix as its gate, a residual. */
interface Around {
  readonly normed?: boolean;
  readonly gated?: boolean;
  readonly residual?: boolean;
  readonly biased?: boolean;
}

/** Body and weights of a product of rows `[M, width]` in these cuts. */
function product(
  matvec: LinearChoice['matvec'],
  settings: Around & { format: WeightFormat; shape: readonly [number, number]; arithmetic: Arithmetic },
) {
  const { format, shape, arithmetic, normed, gated, residual = false, biased = false } = settings;
  const [outputs, width] = shape;
  const vector = (name: string, size: number, seed: number) =>
    packRandomWeight(new Weight({ name, shape: [size], format: 'f32' }), randomSource(seed));
  const gain = vector('gain', width, 9);
  const bias = vector('bias', outputs, 10);
  const matrices = gated ? [weightOf(format, shape, 3), weightOf(format, shape, 4)] : [weightOf(format, shape, 3)];
  const attributes: FusedLinearAttributes = {
    ...(normed ? { norm: { epsilon: 1e-6, offset: 1, gain: true } } : {}),
    biased: matrices.map(() => biased),
    ...(gated ? { gate: 'silu' } : {}),
    residual,
  };
  const operation = chosen(matvec);
  return {
    body: ({ x, r }: { x: never; r: never }, graph: { apply: Function }) => ({
      y: graph.apply(
        operation,
        [
          x,
          ...(normed ? [gain.weight] : []),
          ...matrices.map(({ weight }) => weight),
          ...(biased ? matrices.map(() => bias.weight) : []),
          ...(residual ? [r] : []),
        ],
        attributes,
      )[0],
    }),
    ...packedUpload([...matrices, ...(normed ? [gain] : []), ...(biased ? [bias] : [])]),
    fusion: false,
    tolerance: tolerances[arithmetic] * (gated ? 2 : 1),
    arithmetic,
  } as never as Omit<Parameters<typeof hold>[1], 'inputs'>;
}

/** A plain product in q4. */
const slotsOf = ([outputs, width]: readonly [number, number], rows: number): LinearSlots => ({
  format: 'q4',
  rows,
  width,
  outputs,
  rowOffset: 0,
  segments: [],
  biases: [undefined],
  residual: false,
});

const bits = (values: ArrayLike<number>) => [...new Uint32Array(Float32Array.from(values).buffer)];

describe('matvec of whole blocks', () => {
  for (const arithmetic of arithmetics) {
    for (const format of ['q4', 'q8'] as const) {
      it(`${arithmetic}, ${format}: agrees with the reference on any shape`, async () => {
        for (const [rows, outputs, width, cut] of [
          [2, 19, 608, { tiles: 5, rows: 2, outputs: 1, ahead: 5 }],
          [3, 65, 96, { tiles: 0, rows: 2, lanes: 1 }],
        ] as const) {
          const settings = { format, shape: [outputs, width] as const, arithmetic, residual: rows > 1 };
          const made = product(() => ({ ...cutOf(cut), arithmetic }), settings);
          const inputs = { x: { shape: [rows, width] }, r: { shape: [rows, outputs] } };
          await hold(device, { ...made, inputs } as never);
        }
      });
    }

    it(`${arithmetic}: every cut gives the same bits`, async () => {
      const [rows, width] = [3, 352];
      const settings = {
        format: 'q4',
        shape: [23, width],
        arithmetic,
        normed: true,
        gated: true,
        biased: true,
      } as const;
      const cuts: Cut[] = [
        { tiles: 0, rows: 1, outputs: 1 },
        // Tiles behind the last whole group, the last of them not of all lanes.
        { tiles: 0, rows: 2, outputs: 1, ahead: 2 },
        { tiles: 3, rows: 2, outputs: 1 },
        { tiles: 2, rows: 1, outputs: 1, ahead: 2 },
        // Odd numbers of sums, which lanes halve with a place to spare.
        { tiles: 0, rows: 3, outputs: 1, ...(exchangeLanes >= 4 ? { subgroups: true } : {}) },
        ...(exchangeLanes >= 4 ? [{ tiles: 0, rows: 3, outputs: 2, subgroups: true }] : []),
      ];
      let first: number[] | undefined;
      for (const cut of cuts) {
        const made = product(() => ({ ...cutOf(cut), arithmetic }), settings);
        const held = await hold(device, { ...made, inputs: { x: { shape: [rows, width] } } } as never);
        first ??= bits(held.outputs.y!);
        expect(bits(held.outputs.y!), JSON.stringify(cut)).toEqual(first);
      }
    });

    it(`${arithmetic}: loading ahead changes no bit`, async () => {
      const settings = { format: 'q4', shape: [10, 512], arithmetic, residual: true } as const;
      let first: number[] | undefined;
      for (const cut of [
        { tiles: 0, ahead: 1 },
        { tiles: 0, ahead: 1, next: true },
        { tiles: 0, ahead: 2, next: true, rows: 2 },
        { tiles: 0, ahead: 3 },
        { tiles: 0, ahead: 4 },
        // Lanes that load their residuals ahead, one of them for a place to spare.
        ...(exchangeLanes >= 4
          ? [1, 2].map((outputs) => ({ tiles: 0, rows: 4 - outputs, outputs, subgroups: true }))
          : []),
      ]) {
        const made = product(() => ({ ...cutOf(cut), arithmetic }), settings);
        const held = await hold(device, {
          ...made,
          inputs: { x: { shape: [2, 512] }, r: { shape: [2, 10] } },
        } as never);
        first ??= bits(held.outputs.y!);
        expect(bits(held.outputs.y!), JSON.stringify(cut)).toEqual(first);
      }
    });

    it(`${arithmetic}: the bits of a row do not depend on its company`, async () => {
      const kind = { kind: 'hardware', subgroupLanes: 0, memoryBytes: 16_384 } as const;
      // The table's own cuts, with fewer lanes than it has so that software is done in time; widths share them.
      const made = product((slots) => ({ ...blockCut(kind, slots, arithmetic), lanes: 4 }), {
        format: 'q4',
        shape: [13, 288],
        arithmetic,
        normed: true,
        gated: true,
      });
      await holdRowsInvariant(device, { ...made, rows: { x: { shape: [288] } } } as never);
    });
  }

  it('is refused by name in i8 where the language has no packed products', async () => {
    const without = await requestDevice({ without: ['packed_4x8_integer_dot_product'] });
    try {
      const weight = new Weight({ name: 'w', shape: [8, 32], format: 'q4' });
      const graph = trace((traced) => traced.output('y', linear(traced.input('x', [1, 32]), weight)));
      const options = { device: without, name: 'refused', weights: new WeightStore(without) };
      await expect(compile(graph, { ...options, arithmetic: 'i8' })).rejects.toThrow(MissingFeatureError);
      await expect(compile(graph, { ...options, arithmetic: 'i8' })).rejects.toThrow(/'i8'.*packed_4x8.*'f32'/s);
    } finally {
      without.destroy();
    }
  });

  it('takes no cut in which one row more costs half as much again', () => {
    /** Instructions of a lane for a block of 32: decoding it, multiplying it with a row, and reading a row, which weight rows share. */
    const instructions = { f32: [96, 32, 32], f16: [40, 20, 16], i8: [16, 12, 12] } as const;
    /** What takes as long as memory does to bring the block. */
    const memory = 64;
    const kind = { kind: 'hardware', subgroupLanes: 32, memoryBytes: 32_768, invocations: 1024 } as const;
    for (const arithmetic of ['f32', 'f16', 'i8'] as const) {
      const [decode, multiply, read] = instructions[arithmetic];
      for (const [outputs, width, gated] of [
        [1024, 1024, false],
        [1024, 3072, false],
        [3072, 1024, true],
        [4096, 14_336, false],
        [14_336, 4096, true],
      ] as const) {
        const cost = (rows: number) => {
          const slots = { ...slotsOf([outputs, width], rows), ...(gated ? { gate: 'silu' } : {}) };
          const cut = blockCut(kind, slots, arithmetic);
          const weights = cut.outputs * (gated ? 2 : 1);
          return Math.max(memory, Math.ceil(rows / cut.rows) * (decode + cut.rows * (multiply + read / weights)));
        };
        // Of one and two rows memory is the cost.
        for (let rows = 2; rows < 64; rows++) {
          expect(cost(rows + 1) / cost(rows), `${outputs}x${width}, ${rows} rows`).toBeLessThanOrEqual(1.5);
        }
      }
    }
  });

  it('lists candidates that differ in nothing that changes bits', () => {
    for (const rows of [1, 2, 4, 8, 16, 64]) {
      for (const [outputs, width] of [
        [1024, 1024],
        [28_672, 4096],
        [4096, 14_336],
      ] as const) {
        const slots = slotsOf([outputs, width], rows);
        const kind = { kind: 'hardware', subgroupLanes: 32, memoryBytes: 32_768 } as const;
        for (const ready of [false, true]) {
          const candidates = blockCandidates(kind, slots, 'i8', { ready });
          expect(candidates.length).toBeGreaterThan(2);
          expect(candidates[0]).toEqual(blockCut(kind, slots, 'i8', ready));
          for (const { lanes, workgroup, arithmetic, blocks } of candidates) {
            expect([lanes, workgroup, arithmetic]).toEqual([32, stageWorkgroup, 'i8']);
            // One or two rows cost no dispatch of their own, whatever makes them.
            if (ready || rows <= 2) expect(blocks!.tiles > 0).toBe(!ready);
          }
        }
      }
    }
  });
});
