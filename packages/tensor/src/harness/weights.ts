/** Weights for tests: values that their format holds exactly, packed here and written to the device as they are. */
import { type BlockFormat, blockLayouts, isBlockFormat } from '../graph/block-types.ts';
import { dequantizeBlocks } from '../graph/dequantize-blocks.ts';
import type { Weight, WeightFormat } from '../graph/weight.ts';
import { quantBlock, rowBlocks, rowWords } from '../graph/weight.ts';
import type { WeightStore } from '../run/weight-store.ts';
import type { RandomSource } from './random.ts';

/** A weight with its values and their packed form. */
export interface PackedWeight {
  readonly weight: Weight;
  /** Row-major, exactly as the device's format holds them. */
  readonly values: Float64Array;
  /** `rowWords` u32 a row. */
  readonly codes: Uint32Array<ArrayBuffer>;
  /** Bits of one f16 a block. */
  readonly scales: Uint16Array<ArrayBuffer>;
}

/** Values drawn on a power-of-two grid that the floating formats hold exactly: the float and its bits in the format. */
function gridValue(format: 'f32' | 'f16' | 'bf16', random: RandomSource): { value: number; bits: number } {
  // 7 significant bits and an exponent from 2^-9 fit bf16 and f16 both.
  const mantissa = 64 + random.integer(64);
  const exponent = random.integer(4);
  const negative = random.integer(2);
  const value = (negative ? -1 : 1) * mantissa * 2 ** (exponent - 9);
  const f32 = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  const f16 = (negative << 15) | ((exponent + 6 - 9 + 15) << 10) | ((mantissa - 64) << 4);
  return { value, bits: format === 'f32' ? f32 : format === 'bf16' ? f32 >>> 16 : f16 };
}

function packFloats(weight: Weight, format: 'f32' | 'f16' | 'bf16', random: RandomSource): PackedWeight {
  const { rows, width } = weight;
  const words = rowWords(format, width);
  const values = new Float64Array(rows * width);
  const codes = new Uint32Array(rows * words);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < width; k++) {
      const { value, bits } = gridValue(format, random);
      values[row * width + k] = value;
      if (format === 'f32') codes[row * words + k] = bits;
      else codes[row * words + (k >> 1)]! |= bits << (16 * (k & 1));
    }
  }
  return { weight, values, codes, scales: new Uint16Array() };
}

function packBlocks(weight: Weight, format: 'q8' | 'q4', random: RandomSource): PackedWeight {
  const { rows, width } = weight;
  const blocks = Math.ceil(width / quantBlock);
  const words = rowWords(format, width);
  const values = new Float64Array(rows * width);
  const bytes = new Uint8Array(rows * words * 4);
  const scales = Uint16Array.from(
    { length: rows * blocks },
    () => ((random.integer(4) + 8) << 10) | random.integer(1024),
  );
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < blocks * quantBlock; k++) {
      const block = row * blocks + Math.floor(k / quantBlock);
      const code = k < width ? (format === 'q8' ? random.integer(256) - 128 : random.integer(16) - 8) : 0;
      const scale = (1 + (scales[block]! & 1023) / 1024) * 2 ** ((scales[block]! >> 10) - 15);
      if (k < width) values[row * width + k] = code * scale;
      const i = k % quantBlock;
      if (format === 'q8') bytes[block * 32 + i] = code & 0xff;
      else bytes[block * 16 + (i % 16)]! |= (code + 8) << (i < 16 ? 0 : 4);
    }
  }
  return { weight, values, codes: new Uint32Array(bytes.buffer), scales };
}

/** Random blocks of a GGUF file with scales of sane size. */
export function randomBlocks(format: BlockFormat, count: number, random: RandomSource): Uint8Array<ArrayBuffer> {
  const { bytes, halves } = blockLayouts[format];
  const blocks = Uint8Array.from({ length: count * bytes }, () => random.integer(256));
  const view = new DataView(blocks.buffer);
  for (let block = 0; block < count; block++) {
    for (const at of halves) {
      // 2^-9 to 2^-6, of either sign.
      const bits = (random.integer(2) << 15) | ((6 + random.integer(3)) << 10) | random.integer(1024);
      view.setUint16(block * bytes + at, bits, true);
    }
  }
  return blocks;
}

/** Blocks of a GGUF file as a device holds them. */
function packFileBlocks(weight: Weight, format: BlockFormat, random: RandomSource): PackedWeight {
  const { bytes, words, codesBegin, scaled } = blockLayouts[format];
  const count = weight.rows * rowBlocks(format, weight.width);
  const blocks = randomBlocks(format, count, random);
  const view = new DataView(blocks.buffer);
  const codes = new Uint8Array(count * words * 4);
  const scales = new Uint16Array(scaled ? count : 0);
  for (let block = 0; block < count; block++) {
    const begin = block * bytes;
    codes.set(blocks.subarray(begin + codesBegin, begin + bytes), block * words * 4);
    if (scaled) scales[block] = view.getUint16(begin, true);
  }
  const values = Float64Array.from(dequantizeBlocks(blockLayouts[format].type, blocks));
  return { weight, values, codes: new Uint32Array(codes.buffer), scales };
}

/** Random values of a weight that its format holds exactly. */
export function packRandomWeight(weight: Weight, random: RandomSource): PackedWeight {
  const packers: Partial<Record<WeightFormat, () => PackedWeight>> = {
    f32: () => packFloats(weight, 'f32', random),
    f16: () => packFloats(weight, 'f16', random),
    bf16: () => packFloats(weight, 'bf16', random),
    q8: () => packBlocks(weight, 'q8', random),
    q4: () => packBlocks(weight, 'q4', random),
  };
  return packers[weight.format]?.() ?? packFileBlocks(weight, weight.format as BlockFormat, random);
}

/** What `hold` takes to run a body over packed weights. */
export function packedUpload(packed: readonly PackedWeight[]): {
  weights: ReadonlyMap<Weight, Float64Array>;
  upload: (store: WeightStore) => Promise<void>;
} {
  return {
    weights: new Map(packed.map(({ weight, values }) => [weight, values])),
    upload: async (store) => {
      const halves = new Map<GPUBuffer, Uint16Array<ArrayBuffer>>();
      for (const { weight, codes, scales } of packed) {
        const words = rowWords(weight.format, weight.width);
        const blocks = isBlockFormat(weight.format) ? rowBlocks(weight.format, weight.width) : 0;
        for (const part of store.parts(weight)) {
          const rows = codes.subarray(part.rowBegin * words, part.rowEnd * words);
          store.device.gpu.queue.writeBuffer(store.buffer(part.codes), part.rowOffset * words * 4, rows);
          if (!part.scales) continue;
          const buffer = store.buffer(part.scales);
          const whole = halves.get(buffer) ?? new Uint16Array(buffer.size / 2);
          whole.set(scales.subarray(part.rowBegin * blocks, part.rowEnd * blocks), part.rowOffset * blocks);
          halves.set(buffer, whole);
        }
      }
      for (const [buffer, whole] of halves) store.device.gpu.queue.writeBuffer(buffer, 0, whole);
    },
  };
}
