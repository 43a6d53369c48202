/**
 * What holds of the kernel on matrix units without a device that has them: its text is WGSL for every shape of matrix, and the table
 * takes it only where it may. `matmul.test.ts` runs it where the device has matrices.
 */
import { describe, expect, it } from 'vitest';
import type { ChoiceTimer } from '../../compile/choices.ts';
import { ChoiceTable } from '../../compile/choices.ts';
import { lower } from '../../compile/lower.ts';
import type { Arithmetic } from '../../compile/lowering.ts';
import type { MatrixConfig } from '../../device/subgroup-matrix.ts';
import { trace } from '../../graph/graph.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { Weight } from '../../graph/weight.ts';
import { testDevice } from '../../harness/index.ts';
import { shaderSource } from '../../kernel/define-kernel.ts';
import { WeightStore } from '../../run/weight-store.ts';
import { kindChoice } from './linear-choice.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linearOperation } from './linear.ts';
import { matmulOf } from './choose-linear.ts';
import { lowerLinear } from './lower-linear.ts';
import { matrixCandidates, matrixConfigsFor, matrixCut } from './matrix-cut.ts';
import { matrixInvocations, matrixMemoryBytes } from './matmul-matrix.wgsl.ts';
import { tileText } from './tile-cut.ts';

const config = (component: 'f16' | 'f32', result: 'f16' | 'f32', [M, N, K]: readonly [number, number, number]) =>
  ({ component, result, M, N, K }) satisfies MatrixConfig;

/** As GPUs of NVIDIA, Intel and Apple report them. */
const [square, narrow, shallow, low, half, apple] = [
  config('f16', 'f32', [16, 16, 16]),
  config('f16', 'f32', [16, 8, 16]),
  config('f16', 'f32', [16, 8, 8]),
  config('f16', 'f32', [8, 16, 16]),
  config('f16', 'f16', [8, 8, 8]),
  config('f32', 'f32', [8, 8, 8]),
] as const;

const slotsOf = (format: WeightFormat, more: Partial<LinearSlots> = {}): LinearSlots => ({
  format,
  rows: 100,
  width: 256,
  outputs: 70,
  rowOffset: 0,
  segments: [{ begin: 0, end: 70, column: 0, stride: 70 }],
  biases: more.gate === undefined ? [undefined] : [undefined, undefined],
  residual: false,
  ...more,
});

/** A device whose backend computes nothing, but takes every feature of WGSL: the text is checked as for any other. */
async function checkingDevice(): Promise<GPUDevice | undefined> {
  if (globalThis.navigator?.gpu) return undefined;
  const { create } = await import('webgpu');
  const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
  const adapter = await gpu.requestAdapter();
  // What is collected while its device lives crashes the process.
  (globalThis as { checking?: unknown }).checking = [gpu, adapter];
  const requiredFeatures = ['chromium-experimental-subgroup-matrix', 'subgroups', 'shader-f16'] as GPUFeatureName[];
  return adapter!.requestDevice({ requiredFeatures });
}
const checking = await checkingDevice();
if (!checking) console.info('Not run, for want of Dawn: the WGSL of tiled matmul of matrices.');

describe.skipIf(!checking)('the WGSL of tiled matmul of matrices', () => {
  const compile = async (code: string) => {
    checking!.pushErrorScope('validation');
    const module = checking!.createShaderModule({ code });
    const error = await checking!.popErrorScope();
    if (error) throw new Error(error.message);
    const { messages } = await module.getCompilationInfo();
    await checking!.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } });
    return messages.map(({ message }) => message);
  };

  it.each([square, narrow, shallow, low, half, apple])(
    'is taken without a warning for $component to $result, $M x $N x $K',
    async (matrix) => {
      for (const lanes of [32, 64]) {
        for (const slots of [
          ...(['f32', 'f16', 'bf16', 'q8', 'q4', 'q6_k'] as const).map((format) => slotsOf(format)),
          slotsOf('q4', { width: 100 }),
          slotsOf('q4', { gate: 'silu', biases: [0, undefined] }),
          slotsOf('q8', { residual: true, biases: [0] }),
        ]) {
          const cut = matrixCut(matrix, { lanes }, { rows: 32, outputs: 32 });
          const { kernel } = matmulOf(slots, cut);
          expect(await compile(shaderSource(kernel, { slots, cut }).code)).toEqual([]);
        }
      }
    },
  );

  it('would be refused where its matrices do not fit each other', async () => {
    const slots = slotsOf('q4');
    const cut = matrixCut(square, { lanes: 32 }, { rows: 32, outputs: 32 });
    const { code } = shaderSource(matmulOf(slots, cut).kernel, { slots, cut });
    expect(code).toContain('subgroup_matrix_left<f16, 16, 16>');
    await expect(
      compile(code.replace('subgroup_matrix_left<f16, 16, 16>', 'subgroup_matrix_left<f16, 8, 16>')),
    ).rejects.toThrow(/no matching call to 'subgroupMatrixMultiplyAccumulate/);
  });
});

describe('configs', () => {
  it('have components of f32 for f32 arithmetic, and of f16 for the others', () => {
    expect(matrixConfigsFor([square, half, apple], 'f32')).toEqual([apple]);
    expect(matrixConfigsFor([square], 'f32')).toEqual([]);
    for (const arithmetic of ['f16', 'i8'] as const) {
      expect(matrixConfigsFor([half, apple], arithmetic)).toEqual([half, apple]);
    }
  });

  it('are the largest of their kind, with f32 results where there are any', () => {
    expect(matrixConfigsFor([shallow, narrow, half, square], 'f16')).toEqual([square]);
    expect(matrixConfigsFor([half], 'f16')).toEqual([half]);
    expect(matrixConfigsFor([config('f16', 'f32', [16, 16, 4])], 'f16')).toEqual([]);
  });
});

const hardware = (configs: readonly MatrixConfig[], memoryBytes = 32_768) => ({
  kind: 'hardware' as const,
  subgroupLanes: 32,
  memoryBytes,
  matrices: { configs, lanes: 32, invocations: 256 },
});

describe('candidates', () => {
  it('fit into the memory and the workgroups of the device, and have names of their own', () => {
    for (const slots of [slotsOf('q4'), slotsOf('q4', { gate: 'silu' })]) {
      for (const memory of [16_384, 32_768]) {
        const cuts = matrixCandidates(hardware([square, apple], memory), slots, 'f16');
        expect(cuts.length).toBeGreaterThan(1);
        for (const cut of cuts) {
          expect(matrixMemoryBytes({ slots, cut })).toBeLessThanOrEqual(memory);
          expect(matrixInvocations({ slots, cut })).toBeLessThanOrEqual(256);
          expect(cut.results.down * cut.results.across).toBeLessThanOrEqual(32);
        }
        expect(new Set(cuts.map(tileText)).size).toBe(cuts.length);
      }
    }
  });

  it('come after the tiles that need no feature, and only past the rows of decoding', () => {
    const choice = kindChoice(hardware([square]), 'f16');
    expect(choice.matmul(slotsOf('q4', { rows: 64 }))).toBeUndefined();
    const slots = slotsOf('q4', { rows: 65 });
    const cuts = choice.matmuls!(slots);
    const matrices = cuts.map((cut) => 'matrix' in cut);
    expect(cuts[0]).toEqual(choice.matmul(slots));
    expect(matrices.indexOf(true)).toBeGreaterThan(matrices.lastIndexOf(false));
    const { matrices: _, ...without } = hardware([]);
    expect(kindChoice(without, 'f16').matmuls!(slots)).toEqual(cuts.filter((cut) => !('matrix' in cut)));
  });
});

describe('the table', () => {
  const device = testDevice();

  /** Name and text of the kernel of a product where the matrices are as fast as given, tiles taking 10. */
  async function chosen(nanoseconds: number, { rows, arithmetic }: { rows: number; arithmetic: Arithmetic }) {
    const timer: ChoiceTimer = async (works) =>
      works.map((work) => (work.at(-1)!.kernel.name.startsWith('matrix-') ? nanoseconds : 10));
    const choices = new ChoiceTable({ identity: 'device', timer });
    const operation = defineOperation({
      ...linearOperation,
      lower: (lowering, { operands, outputs }) => {
        const [x, weight] = operands as readonly [Tensor, Weight];
        const plan = { x, weights: [weight], biases: [undefined], outputs };
        lowerLinear(lowering, plan, kindChoice(hardware([square]), arithmetic));
      },
    });
    const weight = new Weight({ name: 'w', shape: [64, 512], format: 'q4' });
    const graph = trace((traced) =>
      traced.output('y', traced.apply(operation, [traced.input('x', [rows, 512]), weight], {})[0]!),
    );
    const options = { device: await device, weights: new WeightStore(await device), arithmetic, choices };
    let lowered = lower(graph, graph.nodes, options);
    while (await choices.measure()) lowered = lower(graph, graph.nodes, options);
    const { kernel, choice } = lowered.dispatches.at(-1)!;
    return { name: kernel.name, choice, keys: Object.keys(choices.answers) };
  }

  it('takes matrices where they were measured to be faster, and says so', async () => {
    const { name, choice, keys } = await chosen(5, { rows: 100, arithmetic: 'f16' });
    expect(name).toBe('matrix-f16-f32-matmul-q4');
    expect(choice).toMatch(/^matrices of 16 x 16 x 16 f16 to f32, .* of \d+ timed, default /);
    expect(keys).toEqual(['matmul with matrices f16 q4 100x512>64']);
  });

  it('takes none where they are slower, in f32 arithmetic, or on the decode path', async () => {
    expect((await chosen(20, { rows: 100, arithmetic: 'f16' })).name).toBe('arithmetic-f16-matmul-blocks-q4');
    expect((await chosen(5, { rows: 100, arithmetic: 'f32' })).name).toBe('matmul-q4');
    expect((await chosen(5, { rows: 64, arithmetic: 'f16' })).name).toContain('matvec-blocks-');
  });
});
