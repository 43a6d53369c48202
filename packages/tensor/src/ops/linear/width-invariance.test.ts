import { describe, expect, it } from 'vitest';
import { compile } from '../../compile/compile.ts';
import { trace } from '../../graph/graph.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { Weight } from '../../graph/weight.ts';
import { packedUpload, packRandomWeight, randomSource, relativeError, testDevice } from '../../harness/index.ts';
import { Commands } from '../../run/commands.ts';
import { WeightStore } from '../../run/weight-store.ts';
import type { LinearChoice } from './linear-choice.ts';
import { linearChoice, preparesNorm, unitCut } from './linear-choice.ts';
import { linearDeviceKind } from './linear-device.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linearReference } from './linear.reference.ts';
import type { LinearPlan } from './lower-linear.ts';
import { lowerLinear } from './lower-linear.ts';

const device = await testDevice();
const formats: readonly WeightFormat[] = ['f32', 'f16', 'bf16', 'q8', 'q4'];
const blocked: readonly WeightFormat[] = ['q4_1', 'q5_0', 'q5_1', 'q4_k', 'q5_k', 'q6_k'];
const widths = [1, 2, 3, 7, 8, 16, 33, 64];

const table = linearChoice(device);

/** A choice of the table for hardware with a fixed number of lanes: the rest changes with the rows as it does there. */
function lanesChoice(lanes: number, { subgroups = false } = {}): LinearChoice {
  const cut = (slots: LinearSlots) => unitCut({ kind: 'hardware', subgroupLanes: 0 }, slots);
  return {
    matvec: (slots) => ({ ...cut(slots), lanes, workgroup: Math.min(64, cut(slots).workgroup), subgroups }),
    matmul: () => undefined,
    lanes: () => lanes,
    preparesNorm: (rows) => preparesNorm('hardware', rows),
  };
}

/** Lanes that can exchange sums here; software adapters have narrow subgroups. */
const subgroupLanes = linearDeviceKind(device).subgroupLanes;
if (subgroupLanes < 2) console.info('Not run, for want of subgroups: matvec with subgroup exchange.');

/** What is tried: the table on every format, each number of lanes on some, and norm and gate on two. */
const families: readonly {
  readonly name: string;
  readonly choice: LinearChoice;
  readonly formats: readonly WeightFormat[];
  readonly fused: boolean;
}[] = [
  { name: 'the table', choice: table, formats, fused: false },
  { name: 'the table, norm and gate', choice: table, formats: ['bf16', 'q4'], fused: true },
  { name: '8 lanes', choice: lanesChoice(8), formats: ['f32'], fused: false },
  { name: '32 lanes', choice: lanesChoice(32), formats: ['f16', 'q8', 'q4'], fused: false },
  { name: '32 lanes, norm and gate', choice: lanesChoice(32), formats: ['q4'], fused: true },
  ...(subgroupLanes < 2
    ? []
    : [
        {
          name: 'subgroups',
          choice: lanesChoice(Math.min(32, subgroupLanes), { subgroups: true }),
          formats: ['q4', 'f16'] as const,
          fused: false,
        },
        {
          name: 'subgroups, norm and gate',
          choice: lanesChoice(Math.min(32, subgroupLanes), { subgroups: true }),
          formats: ['q4'] as const,
          fused: true,
        },
      ]),
  { name: 'the table', choice: table, formats: blocked, fused: false },
  { name: '32 lanes', choice: lanesChoice(32), formats: ['q5_0', 'q4_k', 'q6_k'], fused: false },
  { name: '32 lanes, norm and gate', choice: lanesChoice(32), formats: ['q6_k'], fused: true },
  { name: '64 lanes', choice: lanesChoice(64), formats: ['bf16'], fused: false },
];

interface Setting {
  readonly format: WeightFormat;
  readonly choice: LinearChoice;
  readonly shape: readonly [outputs: number, width: number];
  /** Bytes that a part of the table may have. */
  readonly bindingBytes?: number;
  /** Norm in front and gate behind. */
  readonly fused?: boolean;
}

/** Runs rows `x` through a matrix, and returns its outputs together with those of the reference (of the plain product). */
async function product(x: Float32Array<ArrayBuffer>, { format, choice, shape, bindingBytes, fused }: Setting) {
  const [outputs, width] = shape;
  const rows = x.length / width;
  const matrices = ['w', ...(fused ? ['w2'] : [])].map((name, i) =>
    packRandomWeight(new Weight({ name, shape, format }), randomSource(7 + i)),
  );
  const gain = packRandomWeight(new Weight({ name: 'gain', shape: [width], format: 'f32' }), randomSource(11));
  const operation = defineOperation({
    name: 'chosen-linear',
    infer: () => [{ shape: [rows, outputs], dtype: 'f32' }],
    reference: () => [],
    lower(lowering, node) {
      const plan: LinearPlan = {
        x: node.operands[0] as Tensor,
        weights: matrices.map(({ weight }) => weight),
        biases: matrices.map(() => undefined),
        ...(fused ? { norm: { gain: gain.weight, epsilon: 1e-6, offset: 1 }, gate: 'silu' } : {}),
        outputs: node.outputs,
      };
      lowerLinear(lowering, plan, choice);
    },
  });
  const graph = trace((traced) =>
    traced.output('y', traced.apply(operation, [traced.input('x', [rows, width])], {})[0]!),
  );
  const store = new WeightStore(device, bindingBytes === undefined ? {} : { bindingBytes });
  const program = await compile(graph, { device, name: 'chosen', weights: store });
  store.allocate();
  await packedUpload(fused ? [...matrices, gain] : matrices).upload(store);
  for (const buffer of program.scratchBuffers)
    device.gpu.queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(0x7fc0_dead));
  program.write('x', x);
  const y = await device.scoped(() => {
    const commands = new Commands(device).run(program);
    const read = commands.read(program, 'y');
    commands.submit();
    return read as Promise<Float32Array>;
  });
  const parts = store.parts(matrices[0]!.weight).length;
  store.destroy();
  program.destroy();
  const reference = linearReference(
    { shape: [rows, width], dtype: 'f32', data: Float64Array.from(x) },
    { shape, dtype: 'f32', data: matrices[0]!.values },
  );
  return { y, reference: reference.data, parts };
}

function normals(count: number): Float32Array<ArrayBuffer> {
  const random = randomSource(2);
  return Float32Array.from({ length: count }, () => random.normal());
}

describe('rows of the decode path', () => {
  for (const { name, choice, formats: tried, fused } of families) {
    for (const format of tried) {
      it(`${name}, ${format}: the bits of a row do not depend on how many rows there are`, async () => {
        const [outputs, width] = [21, blocked.includes(format) ? 512 : 360];
        const all = normals(64 * width);
        const setting = { format, choice, shape: [outputs, width] as const, fused };
        const watched = [0, 1, 2, 6, 7, 15, 32, 63];
        const alone = new Map<number, Float32Array>();
        for (const row of watched) {
          const { y, reference } = await product(all.slice(row * width, (row + 1) * width), setting);
          alone.set(row, y);
          if (!fused) expect(relativeError(y, reference)).toBeLessThan(2e-6);
        }
        for (const rows of widths) {
          const { y } = await product(all.slice(0, rows * width), setting);
          for (const row of watched.filter((candidate) => candidate < rows)) {
            expect([...y.subarray(row * outputs, (row + 1) * outputs)]).toEqual([...alone.get(row)!]);
          }
        }
      });
    }
  }

  it('have the same bits whether lanes exchange sums by subgroups or through memory', async () => {
    const lanes = Math.min(32, subgroupLanes);
    const setting = { format: 'q4', shape: [21, 360], fused: true } as const;
    for (const rows of subgroupLanes < 2 ? [] : [1, 4]) {
      const x = normals(rows * 360);
      const exchanged = await product(x, { ...setting, choice: lanesChoice(lanes, { subgroups: true }) });
      const portable = await product(x, { ...setting, choice: lanesChoice(lanes) });
      expect([...exchanged.y]).toEqual([...portable.y]);
    }
  });

  for (const format of [...formats, 'q5_0', 'q6_k'] as const) {
    it(`${format}: a table in several parts gives the bits of the table in one`, async () => {
      const shape = [37, { q5_0: 96, q6_k: 256 }[format as string] ?? 100] as const;
      const x = normals(5 * shape[1]);
      for (const choice of [table, ...(format === 'q8' ? [lanesChoice(8)] : [])]) {
        const whole = await product(x, { format, choice, shape });
        const split = await product(x, { format, choice, shape, bindingBytes: 2048 });
        expect(whole.parts).toBe(1);
        expect(split.parts).toBeGreaterThan(1);
        expect([...split.y]).toEqual([...whole.y]);
        expect(relativeError(whole.y, whole.reference)).toBeLessThan(2e-6);
      }
    });
  }
});
