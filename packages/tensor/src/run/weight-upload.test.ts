import { describe, expect, it } from 'vitest';
import { ArgumentError } from '../errors.ts';
import { trace } from '../graph/graph.ts';
import { blockLayouts, formatOfBlocks } from '../graph/block-types.ts';
import type { BlockType } from '../graph/block-types.ts';
import { dequantizeBlocks } from '../graph/dequantize-blocks.ts';
import { Weight } from '../graph/weight.ts';
import { randomBlocks, randomSource, testDevice } from '../harness/index.ts';
import { compile } from '../compile/compile.ts';
import { Commands } from './commands.ts';
import { WeightStore } from './weight-store.ts';
import type { ConvertedFormat, SourceDType } from '../ops/convert-weight/convert-weight.wgsl.ts';
import { convertReference, roundFloat } from '../ops/convert-weight/convert-weight.reference.ts';
import { embedding } from '../ops/embedding/embedding.ts';
import { WeightUpload, WeightValueError } from './weight-upload.ts';

const device = await testDevice();
const formats: readonly ConvertedFormat[] = ['f32', 'f16', 'bf16', 'q8', 'q4'];
const sources: readonly SourceDType[] = ['F32', 'F16', 'BF16'];

/** Stored bytes of values, and the values that they hold. */
function stored(source: SourceDType, values: readonly number[]): { bytes: Uint8Array; exact: number[] } {
  if (source === 'F32') {
    const data = Float32Array.from(values);
    return { bytes: new Uint8Array(data.buffer), exact: [...data] };
  }
  const rounding = source === 'F16' ? { mantissa: 10, lowest: -14 } : { mantissa: 7, lowest: -126 };
  const exact = values.map((value) => roundFloat(value, rounding));
  const bits = exact.map((value) => {
    const f32 = new Uint32Array(Float32Array.of(value).buffer)[0]!;
    if (source === 'BF16') return f32 >>> 16;
    const sign = (f32 >>> 16) & 0x8000;
    const magnitude = Math.abs(value);
    if (magnitude < 2 ** -14) return sign | (magnitude * 2 ** 24);
    return sign | (((f32 & 0x7fff_ffff) - 0x3800_0000) >> 13);
  });
  return { bytes: new Uint8Array(Uint16Array.from(bits).buffer), exact };
}

/** Reads a table's rows back through the embedding operation. */
async function readBack(
  weight: Weight,
  store: WeightStore,
  fill: (upload: WeightUpload) => Promise<void>,
): Promise<Float32Array> {
  const graph = trace((traced) => traced.output('y', embedding(weight, traced.input('tokens', [weight.rows], 'u32'))));
  const program = await compile(graph, { device, name: 'read back', weights: store });
  store.allocate();
  const upload = new WeightUpload(store);
  await fill(upload);
  await upload.finish();
  program.write(
    'tokens',
    Uint32Array.from({ length: weight.rows }, (_, row) => row),
  );
  return device.scoped(() => {
    const commands = new Commands(device).run(program);
    const y = commands.read(program, 'y');
    commands.submit();
    return y as Promise<Float32Array>;
  });
}

function relativeSquares(out: ArrayLike<number>, values: readonly number[]): number {
  return (
    values.reduce((sum, value, i) => sum + (value - out[i]!) ** 2, 0) /
    values.reduce((sum, value) => sum + value * value, 0)
  );
}

describe('WeightUpload of blocks', () => {
  for (const type of Object.keys(formatOfBlocks) as BlockType[]) {
    it(`${type} keeps its bits, however it is cut and split`, async () => {
      const format = formatOfBlocks[type];
      const { values, bytes } = blockLayouts[format];
      const weight = new Weight({ name: 'w', shape: [19, 768], format });
      const blocks = (19 * 768) / values;
      const file = randomBlocks(format, blocks, randomSource(4));
      const store = new WeightStore(device, { bindingBytes: 4096 });
      const out = await readBack(weight, store, async (upload) => {
        // Pieces that begin and end within rows, out of order.
        const cuts = [0, 5, 6, 17, blocks - 1, blocks];
        const pieces = cuts.slice(1).map((end, i) => [cuts[i]!, end] as const);
        for (const [begin, end] of pieces.reverse())
          await upload.write(weight, type, begin * values, file.subarray(begin * bytes, end * bytes));
      });
      expect(store.parts(weight).length).toBeGreaterThan(1);
      expect(out).toEqual(dequantizeBlocks(type, file));
      store.destroy();
    });
  }

  it('refuses blocks that are of another format, no blocks at all, or not finite', async () => {
    const weight = new Weight({ name: 'w', shape: [4, 256], format: 'q6_k' });
    const q4 = new Weight({ name: 'v', shape: [4, 256], format: 'q4' });
    const store = new WeightStore(device);
    for (const one of [weight, q4]) store.parts(one);
    store.allocate();
    const upload = new WeightUpload(store);
    const file = randomBlocks('q6_k', 4, randomSource(4));
    await expect(upload.write(weight, 'Q5_K', 0, file)).rejects.toThrow(ArgumentError);
    await expect(upload.write(q4, 'Q6_K', 0, file)).rejects.toThrow('into q6_k only');
    await expect(upload.write(weight, 'F32', 0, file)).rejects.toThrow('from Q6_K blocks only');
    await expect(upload.write(weight, 'Q6_K', 0, file.subarray(1))).rejects.toThrow(ArgumentError);
    await expect(upload.write(weight, 'Q6_K', 128, file.subarray(0, 210))).rejects.toThrow(ArgumentError);
    new DataView(file.buffer).setUint16(210 * 2 + 208, 0x7c00, true);
    await upload.write(weight, 'Q6_K', 0, file);
    await expect(upload.finish()).rejects.toThrow('not finite');
    store.destroy();
  });
});

describe('WeightUpload', () => {
  for (const source of sources) {
    for (const format of formats) {
      it(`converts ${source} into ${format}, in pieces and over split tables`, async () => {
        for (const [rows, width, bindingBytes] of [
          [5, 1, undefined],
          [7, 63, 600],
          [6, 100, undefined],
          [9, 96, 800],
        ] as const) {
          const random = randomSource(rows);
          const { bytes, exact } = stored(
            source,
            Array.from({ length: rows * width }, () => random.normal() * 0.05),
          );
          const weight = new Weight({ name: 'w', shape: [rows, width], format });
          const store = new WeightStore(device, bindingBytes === undefined ? {} : { bindingBytes });
          const elementBytes = source === 'F32' ? 4 : 2;
          // Pieces as a checkpoint cuts them: multiples of 64 elements where rows are whole blocks, else an even number of rows.
          const step = width % 32 === 0 ? 64 : width * 2;
          const out = await readBack(weight, store, async (upload) => {
            for (let begin = 0; begin < rows * width; begin += step) {
              await upload.write(
                weight,
                source,
                begin,
                bytes.subarray(begin * elementBytes, (begin + step) * elementBytes),
              );
            }
          });
          const wanted = convertReference(format, exact, width);
          if (format === 'q8' || format === 'q4') {
            const excess = relativeSquares(out, exact) - relativeSquares(wanted, exact);
            expect(excess).toBeLessThan(1e-6);
            expect(excess).toBeGreaterThan(-1e-6);
          } else {
            expect([...out]).toEqual([...wanted]);
          }
          store.destroy();
        }
      });
    }
  }

  it('keeps subnormals and rounds ties to even in f16', async () => {
    const values = [
      2 ** -24,
      3 * 2 ** -25,
      -(2 ** -25),
      5 * 2 ** -26,
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      65504,
      -65504,
      0,
      2 ** -14,
    ];
    const weight = new Weight({ name: 'w', shape: [2, 5], format: 'f16' });
    const store = new WeightStore(device);
    const out = await readBack(weight, store, (upload) => upload.write(weight, 'F32', 0, stored('F32', values).bytes));
    expect([...out].map(Math.abs)).toEqual([...convertReference('f16', values, 5)].map(Math.abs));
  });

  it('names weights that are not finite, too large, or incomplete', async () => {
    const make = (name: string, format: ConvertedFormat) => new Weight({ name, shape: [2, 64], format });
    const store = new WeightStore(device);
    const weights = formats.map((format) => make(`nan ${format}`, format));
    const [large, partial, good] = [make('large', 'f16'), make('partial', 'f32'), make('good', 'q4')];
    for (const weight of [...weights, large, partial, good]) store.parts(weight);
    store.allocate();
    const upload = new WeightUpload(store);
    const ones = new Float32Array(128).fill(1);
    const bytesOf = (at: number, value: number) => {
      const data = ones.slice();
      data[at] = value;
      return new Uint8Array(data.buffer);
    };
    for (const [i, weight] of weights.entries())
      await upload.write(weight, 'F32', 0, bytesOf(i * 17, [NaN, Infinity, -Infinity][i % 3]!));
    await upload.write(large, 'F32', 0, bytesOf(3, 70000));
    await upload.write(partial, 'F32', 0, new Uint8Array(ones.buffer, 0, 256));
    await upload.write(good, 'F32', 0, new Uint8Array(ones.buffer));
    const error = await upload.finish().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(WeightValueError);
    for (const weight of [...weights, large, partial]) expect((error as Error).message).toContain(`"${weight.name}"`);
    expect((error as Error).message).not.toContain('good');
    expect(device.memory.staging).toBeLessThan(1 << 20);
    store.destroy();
  });

  it('refuses pieces that do not fit', async () => {
    const weight = new Weight({ name: 'w', shape: [2, 64], format: 'q4' });
    const store = new WeightStore(device);
    const upload = new WeightUpload(store);
    await expect(upload.write(weight, 'F32', 0, new Uint8Array(129 * 4))).rejects.toThrow(ArgumentError);
    await expect(upload.write(weight, 'F32', 16, new Uint8Array(64))).rejects.toThrow(ArgumentError);
    await expect(upload.write(weight, 'BF16', 0, new Uint8Array(3))).rejects.toThrow(ArgumentError);
    await expect(upload.write(weight, 'F32', 0, new Uint8Array(256))).rejects.toThrow(ArgumentError);
    store.destroy();
  });
});
