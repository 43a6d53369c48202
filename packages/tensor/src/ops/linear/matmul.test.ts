import { describe, it } from 'vitest';
import type { Device } from '../../device/device.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { Weight } from '../../graph/weight.ts';
import type { PackedWeight } from '../../harness/index.ts';
import { hold, packedUpload, packRandomWeight, randomSource, testDevice } from '../../harness/index.ts';
import type { FusedLinearAttributes } from './fused-linear.ts';
import { fusedLinearOperation, fusedLinearPlan } from './fused-linear.ts';
import { linearChoice } from './linear-choice.ts';
import { lowerLinear } from './lower-linear.ts';
import { isMatrixConfig } from './matmul-matrix.wgsl.ts';
import type { MatmulCut } from './matmul.wgsl.ts';
import type { TileCut } from './tile-cut.ts';
import { tileText } from './tile-cut.ts';

const device = await testDevice();

/** The fused operation with the tiled kernel, whatever the table says. */
function tiled(cut: TileCut) {
  return defineOperation<FusedLinearAttributes>({
    ...fusedLinearOperation,
    lower(lowering, { operands, attributes, outputs }) {
      lowerLinear(lowering, fusedLinearPlan(operands, attributes, outputs), {
        ...linearChoice(device),
        matmul: () => cut,
      });
    },
  });
}

function weights(format: WeightFormat, shapes: readonly (readonly number[])[]): PackedWeight[] {
  return shapes.map((shape, i) =>
    packRandomWeight(
      new Weight({ name: `w${i}`, shape, format: shape.length === 1 ? 'f32' : format }),
      randomSource(i + 5),
    ),
  );
}

/** Holds two products in a row: a gate of two matrices with a bias on one, and a bias with a residual. */
async function holdFused(on: Device, cut: TileCut, tolerance: number): Promise<void> {
  const packed = weights('q4', [[40, 70], [40, 70], [40], [70, 40], [70]]);
  const [gate, up, bias, down, downBias] = packed;
  const operation = tiled(cut);
  await hold(on, {
    inputs: { x: { shape: [67, 70] } },
    body: ({ x }, graph) => {
      const apply = (operands: readonly (Tensor | Weight)[], attributes: FusedLinearAttributes) =>
        graph.apply(operation, operands, attributes);
      const [hidden] = apply([x, gate!.weight, up!.weight, bias!.weight], {
        biased: [false, true],
        gate: 'silu',
        residual: false,
      });
      const [y] = apply([hidden!, down!.weight, downBias!.weight, x], { biased: [true], residual: true });
      return { y: y! };
    },
    ...packedUpload(packed),
    tolerance,
  });
}

describe('tiled matmul', () => {
  // Large tiles are unrolled far, which takes a software adapter seconds to compile.
  const small: MatmulCut = { rows: 2, outputs: 1, depth: 32 };
  const large: MatmulCut = { rows: 4, outputs: 4, depth: 16 };
  const cases: readonly (readonly [
    WeightFormat,
    MatmulCut,
    readonly [rows: number, outputs: number, width: number],
  ])[] = [
    ['f32', small, [65, 63, 100]],
    ['f32', small, [1, 1, 1]],
    ['f16', small, [33, 17, 63]],
    ['bf16', small, [100, 33, 64]],
    ['q8', small, [65, 20, 100]],
    ['q4', small, [40, 33, 63]],
    ['q4', large, [65, 70, 1000]],
    ['q5_0', small, [65, 33, 96]],
    ['q4_k', small, [40, 33, 256]],
    ['q6_k', small, [33, 20, 512]],
  ];
  for (const [format, cut, [rows, outputs, width]] of cases) {
    it(`${format} [${rows}, ${width}] by [${outputs}, ${width}], tiles of ${16 * cut.rows} by ${16 * cut.outputs}`, async () => {
      const packed = weights(format, [[outputs, width]]);
      await hold(device, {
        inputs: { x: { shape: [rows, width] } },
        body: ({ x }, graph) => ({
          y: graph.apply(tiled(cut), [x, packed[0]!.weight], { biased: [false], residual: false })[0]!,
        }),
        ...packedUpload(packed),
        fusion: false,
        tolerance: 2e-6,
      });
    });
  }

  it('adds biases, gates and adds a residual', () => holdFused(device, { rows: 1, outputs: 1, depth: 16 }, 3e-6));
});

const able = {
  f16: device.has('shader-f16'),
  i8: device.hasLanguage('packed_4x8_integer_dot_product'),
};

describe('tiled matmul of whole blocks', () => {
  for (const arithmetic of ['f16', 'i8'] as const) {
    if (!able[arithmetic]) {
      console.info(`Not run, for want of a feature: tiled matmul in ${arithmetic}.`);
      continue;
    }
    const sides = { down: 4, across: 8 };
    for (const [format, cut, [rows, outputs, width], gated] of [
      ['q4', { rows: 2, outputs: 2, depth: 32 }, [40, 33, 96], false],
      ['q8', { rows: 1, outputs: 2, depth: 64 }, [17, 20, 128], false],
      ['q4', { rows: 1, outputs: 1, depth: 32 }, [20, 17, 64], true],
      ['q4', { rows: 4, outputs: 4, depth: 128, sides }, [18, 45, 256], false],
      ['q8', { rows: 1, outputs: 4, depth: 32, sides: { down: 8, across: 16 } }, [17, 70, 96], false],
      ['q4', { rows: 4, outputs: 2, depth: 64, sides: { down: 8, across: 8 } }, [65, 33, 192], true],
    ] as const) {
      it(`${arithmetic}, ${format} [${rows}, ${width}] by [${outputs}, ${width}], ${tileText({ ...cut, arithmetic })}${gated ? ', gated' : ''}`, async () => {
        const packed = weights(
          format,
          Array.from({ length: gated ? 2 : 1 }, () => [outputs, width]),
        );
        const operation = tiled({ ...cut, arithmetic });
        const attributes = { biased: packed.map(() => false), residual: false, ...(gated ? { gate: 'silu' } : {}) };
        await hold(device, {
          inputs: { x: { shape: [rows, width] } },
          body: ({ x }, graph) => ({
            y: graph.apply(operation, [x, ...packed.map(({ weight }) => weight)], attributes)[0]!,
          }),
          ...packedUpload(packed),
          fusion: false,
          tolerance: { f16: 4e-3, i8: 3e-2 }[arithmetic],
          arithmetic,
        });
      });
    }
  }
});

const matrixDevice = await testDevice({ experimental: ['subgroup-matrix'] });
const configs = matrixDevice.matrices.filter(isMatrixConfig);
if (configs.length === 0)
  console.info('Not run, for want of chromium-experimental-subgroup-matrix: tiled matmul of matrices.');

describe.skipIf(configs.length === 0)('tiled matmul of subgroup matrices', () => {
  const lanes = matrixDevice.gpu.adapterInfo.subgroupMaxSize ?? 0;
  for (const matrix of configs) {
    const { M, N, K, component, result } = matrix;
    const tolerance = { f32: component === 'f32' ? 2e-6 : 1e-3, f16: 4e-3 }[result];
    const title = `${component} to ${result}, ${M} x ${N} x ${K}`;
    const one = { down: 1, across: 1 };
    const depth = K * Math.ceil(32 / K);
    const small = { matrix, lanes, subgroups: one, results: one, depth };
    const uneven = { ...small, subgroups: { down: 2, across: 1 }, results: { down: 1, across: 2 } };
    const large = { ...small, subgroups: { down: 2, across: 2 }, results: { down: 2, across: 1 }, depth: 2 * depth };
    for (const [format, cut, [rows, outputs, width]] of [
      ['f32', small, [1, 1, 1]],
      ['f16', small, [19, 17, 63]],
      ['bf16', uneven, [100, 33, 64]],
      ['q8', uneven, [65, 20, 100]],
      ['q4', small, [40, 33, 63]],
      ['q4', large, [65, 70, 1000]],
      ['q5_0', small, [17, 33, 96]],
      ['q4_k', large, [40, 33, 256]],
      ['q6_k', uneven, [33, 20, 512]],
    ] as const) {
      const { subgroups, results } = cut;
      const tile = `${M * results.down * subgroups.down} by ${N * results.across * subgroups.across}`;
      it(`${title}: ${format} [${rows}, ${width}] by [${outputs}, ${width}], tiles of ${tile}`, async () => {
        const packed = weights(format, [[outputs, width]]);
        await hold(matrixDevice, {
          inputs: { x: { shape: [rows, width] } },
          body: ({ x }, graph) => ({
            y: graph.apply(tiled(cut), [x, packed[0]!.weight], { biased: [false], residual: false })[0]!,
          }),
          ...packedUpload(packed),
          fusion: false,
          tolerance,
        });
      });
    }
    it(`${title}: adds biases, gates and adds a residual`, () => holdFused(matrixDevice, uneven, tolerance));
  }
});
