import { describe, expect, it } from 'vitest';
import { ArgumentError, DeviceLimitError, DTypeError, ShapeError } from '../../errors.ts';
import { compile } from '../../compile/compile.ts';
import { trace } from '../../graph/graph.ts';
import { Weight, type WeightFormat } from '../../graph/weight.ts';
import {
  hold,
  holdRowsInvariant,
  packedUpload,
  packRandomWeight,
  randomSource,
  testDevice,
} from '../../harness/index.ts';
import { WeightStore } from '../../run/weight-store.ts';
import { linear } from '../linear/linear.ts';
import { expertLinear, expertLinearOperation } from './expert-linear.ts';

const device = await testDevice();

function expertsOf(count: number, shape: readonly number[], format: WeightFormat = 'f32') {
  const random = randomSource(count);
  const packed = Array.from({ length: count }, (_, e) =>
    packRandomWeight(new Weight({ name: `expert ${e}`, shape, format }), random),
  );
  return { experts: packed.map(({ weight }) => weight), ...packedUpload(packed) };
}

/** Ids of `rows` rows, different within a row, the last of each row past the experts where `absent`. */
function idsOf(rows: number, perRow: number, experts: number, absent = false): number[] {
  return Array.from({ length: rows * perRow }, (_, i) => {
    const [row, j] = [Math.floor(i / perRow), i % perRow];
    return absent && j === perRow - 1 ? experts + row : (row * 7 + j) % experts;
  });
}

const cases = [
  ['f32', 3, [5, 7]],
  ['f32', 1, [1, 1]],
  ['f32', 4, [63, 100]],
  ['f16', 4, [33, 20]],
  ['bf16', 3, [9, 24]],
  ['q8', 5, [7, 50]],
  ['q4', 4, [63, 96]],
  ['q5_0', 3, [10, 64]],
  ['q4_k', 2, [6, 256]],
] as const;

describe('expertLinear', () => {
  it.each(cases)('%s, %d experts of %j', async (format, count, [N, K]) => {
    const { experts, weights, upload } = expertsOf(count, [N, K], format);
    const [M, J] = [4, Math.min(count, 3)];
    await hold(device, {
      inputs: {
        x: { shape: [M, K] },
        each: { shape: [M, J, K] },
        ids: { shape: [M, J], dtype: 'u32', data: idsOf(M, J, count, count > 2) },
        shares: { shape: [M, J] },
      },
      body: ({ x, each, ids, shares }) => ({
        one: expertLinear(x, experts, ids),
        own: expertLinear(each, experts, ids),
        summed: expertLinear(each, experts, ids, { weights: shares }),
        sharedSum: expertLinear(x, experts, ids, { weights: shares }),
      }),
      weights,
      upload,
      tolerance: 2e-6,
    });
  });

  it.each([
    [8, 'f32', 50],
    [32, 'q8', 300],
    [32, 'f16', 260],
  ] as const)('with %d lanes along K, as hardware has them, over %s of %d', async (lanes, format, K) => {
    const { experts, weights, upload } = expertsOf(3, [21, K], format);
    const [M, J] = [3, 2];
    await hold(device, {
      inputs: {
        x: { shape: [M, K] },
        ids: { shape: [M, J], dtype: 'u32', data: idsOf(M, J, 3) },
        shares: { shape: [M, J] },
      },
      body: ({ x, ids, shares }, graph) => ({
        one: graph.apply(expertLinearOperation, [x, ids, ...experts], { summed: false, lanes })[0]!,
        summed: graph.apply(expertLinearOperation, [x, ids, shares, ...experts], { summed: true, lanes })[0]!,
      }),
      weights,
      upload,
      tolerance: 2e-6,
    });
  });

  it('gives a row the same bits in any company', async () => {
    const { experts, weights, upload } = expertsOf(6, [10, 40]);
    const [rows, J] = [64, 2];
    await holdRowsInvariant(device, {
      rows: {
        x: { shape: [40] },
        ids: { shape: [J], dtype: 'u32', data: idsOf(rows, J, 6) },
        shares: { shape: [J] },
      },
      body: ({ x, ids, shares }) => {
        const hidden = expertLinear(x, experts, ids);
        return { hidden, summed: expertLinear(x, experts, ids, { weights: shares }) };
      },
      weights,
      upload,
      tolerance: 2e-6,
    });
  });

  it('takes experts from several bindings where they cannot lie in one', async () => {
    const { experts, weights, upload } = expertsOf(5, [6, 12], 'q8');
    const [M, J] = [5, 3];
    await hold(device, {
      inputs: {
        x: { shape: [M, 12] },
        ids: { shape: [M, J], dtype: 'u32', data: idsOf(M, J, 5, true) },
        shares: { shape: [M, J] },
      },
      body: ({ x, ids, shares }) => ({
        // What is placed first lies alone, and parts the others.
        alone: linear(x, experts[2]!),
        one: expertLinear(x, experts, ids),
        summed: expertLinear(x, experts, ids, { weights: shares }),
      }),
      weights,
      upload,
      tolerance: 2e-6,
    });
    const graph = trace((traced) =>
      traced.output('y', expertLinear(traced.input('x', [1, 12]), experts, traced.input('ids', [1, 2], 'u32'))),
    );
    const store = new WeightStore(device, { bindingBytes: 2 * 6 * 32 });
    const program = await compile(graph, { device, name: 'small bindings', weights: store });
    expect(program.dispatches).toHaveLength(3);
    program.destroy();
    const tooSmall = new WeightStore(device, { bindingBytes: 5 * 32 });
    await expect(compile(graph, { device, name: 'none', weights: tooSmall })).rejects.toThrow(DeviceLimitError);
  });

  it('refuses what does not fit', () => {
    const { experts } = expertsOf(2, [3, 4]);
    const apply = (one: { x?: number[]; ids?: number[]; weights?: number[]; dtype?: 'u32' | 'f32'; other?: Weight }) =>
      trace((graph) => {
        const ids = graph.input('ids', one.ids ?? [2, 2], one.dtype ?? 'u32');
        const weights = one.weights && graph.input('weights', one.weights);
        const all = one.other ? [...experts, one.other] : experts;
        expertLinear(graph.input('x', one.x ?? [2, 4]), all, ids, weights ? { weights } : {});
      });
    expect(() => apply({ x: [2, 5] })).toThrow(ShapeError);
    expect(() => apply({ x: [2, 3, 4] })).toThrow(ShapeError);
    expect(() => apply({ ids: [3, 2] })).toThrow(ShapeError);
    expect(() => apply({ ids: [4] })).toThrow(ShapeError);
    expect(() => apply({ dtype: 'f32' })).toThrow(DTypeError);
    expect(() => apply({ weights: [2, 3] })).toThrow(ShapeError);
    expect(() => apply({ other: new Weight({ name: 'odd', shape: [3, 5], format: 'f32' }) })).toThrow(ShapeError);
    expect(() => apply({ other: new Weight({ name: 'odd', shape: [3, 4], format: 'f16' }) })).toThrow(ShapeError);
    expect(() =>
      trace((graph) => void expertLinear(graph.input('x', [1, 4]), [], graph.input('ids', [1, 1], 'u32'))),
    ).toThrow(ArgumentError);
  });
});
