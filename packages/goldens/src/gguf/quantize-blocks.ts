/**
 * Quantises into GGUF's blocks, plainly: scales from the extremes of a block, codes rounded to nearest. For making files to test with;
 * their values are whatever the blocks say.
 */
import { blockLayouts, type BlockType, float16Bits, float16Value, formatOfBlocks } from '@forerun/tensor';

interface Target {
  readonly view: DataView;
  readonly at: number;
}

const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, Math.round(value)));

/** Stores a number as f16, and returns what was stored. */
function putHalf({ view, at }: Target, byte: number, value: number): number {
  const bits = float16Bits(value);
  view.setUint16(at + byte, bits, true);
  return float16Value(bits);
}

const over = (value: number, scale: number) => (scale === 0 ? 0 : value / scale);

function extremes(values: Float32Array): { low: number; high: number; most: number } {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return { low, high, most: -low > high ? low : high };
}

function eightBits(values: Float32Array, target: Target): void {
  const scale = putHalf(target, 0, Math.abs(extremes(values).most) / 127);
  values.forEach((value, i) => target.view.setInt8(target.at + 2 + i, clamp(over(value, scale), -127, 127)));
}

/** Nibbles of 32 codes, and their fifth bits. */
function putCodes({ view, at }: Target, codes: readonly number[], places: { codes: number; high?: number }): void {
  for (let i = 0; i < 16; i++) {
    view.setUint8(at + places.codes + i, (codes[i]! & 15) | ((codes[i + 16]! & 15) << 4));
  }
  if (places.high === undefined) return;
  view.setUint32(at + places.high, codes.reduce((bits, code, i) => bits | ((code >> 4) << i), 0) >>> 0, true);
}

function symmetric(values: Float32Array, target: Target, bits: 4 | 5): void {
  const half = 2 ** (bits - 1);
  const scale = putHalf(target, 0, extremes(values).most / -half);
  const codes = Array.from(values, (value) => clamp(over(value, scale) + half, 0, 2 * half - 1));
  putCodes(target, codes, bits === 4 ? { codes: 2 } : { codes: 6, high: 2 });
}

function offset(values: Float32Array, target: Target, bits: 4 | 5): void {
  const { low, high } = extremes(values);
  const most = 2 ** bits - 1;
  const scale = putHalf(target, 0, (high - low) / most);
  const minimum = putHalf(target, 2, low);
  const codes = Array.from(values, (value) => clamp(over(value - minimum, scale), 0, most));
  putCodes(target, codes, bits === 4 ? { codes: 4 } : { codes: 8, high: 4 });
}

/** Eight sub-blocks of 32, each with a scale and a minimum of six bits. */
function subBlocks(values: Float32Array, target: Target, bits: 4 | 5): void {
  const { view, at } = target;
  const most = 2 ** bits - 1;
  const parts = Array.from({ length: 8 }, (_, j) => values.subarray(j * 32, j * 32 + 32));
  const ranges = parts.map((part) => {
    const { low, high } = extremes(part);
    return { minimum: Math.max(0, -low), scale: (high - Math.min(0, low)) / most };
  });
  const scale = putHalf(target, 0, Math.max(...ranges.map((range) => range.scale)) / 63);
  const minimum = putHalf(target, 2, Math.max(...ranges.map((range) => range.minimum)) / 63);
  const six = ranges.map((range) => [
    clamp(over(range.scale, scale), 0, 63),
    clamp(over(range.minimum, minimum), 0, 63),
  ]) as [number, number][];
  for (let j = 0; j < 4; j++) {
    const [lower, upper] = [six[j]!, six[j + 4]!];
    view.setUint8(at + 4 + j, lower[0] | ((upper[0] >> 4) << 6));
    view.setUint8(at + 8 + j, lower[1] | ((upper[1] >> 4) << 6));
    view.setUint8(at + 12 + j, (upper[0] & 15) | ((upper[1] & 15) << 4));
  }
  const codesAt = at + (bits === 4 ? 16 : 48);
  parts.forEach((part, j) => {
    const [factor, shift] = [scale * six[j]![0], minimum * six[j]![1]];
    part.forEach((value, i) => {
      const code = clamp(over(value + shift, factor), 0, most);
      const byte = codesAt + (j >> 1) * 32 + i;
      view.setUint8(byte, view.getUint8(byte) | ((code & 15) << ((j & 1) * 4)));
      if (bits === 5) view.setUint8(at + 16 + i, view.getUint8(at + 16 + i) | ((code >> 4) << j));
    });
  });
}

function sixBits(values: Float32Array, target: Target): void {
  const { view, at } = target;
  const groups = Array.from({ length: 16 }, (_, j) => extremes(values.subarray(j * 16, j * 16 + 16)).most / -32);
  const scale = putHalf(target, 208, Math.max(...groups.map(Math.abs)) / 127);
  const factors = groups.map((group) => clamp(over(group, scale), -127, 127));
  factors.forEach((factor, j) => view.setInt8(at + 192 + j, factor));
  values.forEach((value, i) => {
    const code = clamp(over(value, scale * factors[i >> 4]!), -32, 31) + 32;
    const [upper, within] = [i >> 7, i & 127];
    const low = at + upper * 64 + (within & 63);
    const high = at + 128 + upper * 32 + (within & 31);
    view.setUint8(low, view.getUint8(low) | ((code & 15) << ((within >> 6) * 4)));
    view.setUint8(high, view.getUint8(high) | ((code >> 4) << ((within >> 5) * 2)));
  });
}

const quantizers: Readonly<Record<BlockType, (values: Float32Array, target: Target) => void>> = {
  Q8_0: eightBits,
  Q4_0: (values, target) => symmetric(values, target, 4),
  Q4_1: (values, target) => offset(values, target, 4),
  Q5_0: (values, target) => symmetric(values, target, 5),
  Q5_1: (values, target) => offset(values, target, 5),
  Q4_K: (values, target) => subBlocks(values, target, 4),
  Q5_K: (values, target) => subBlocks(values, target, 5),
  Q6_K: sixBits,
};

/** Whole blocks of values as a GGUF file holds them. */
export function quantizeBlocks(type: BlockType, values: Float32Array): Uint8Array<ArrayBuffer> {
  const layout = blockLayouts[formatOfBlocks[type]];
  const blocks = values.length / layout.values;
  const bytes = new Uint8Array(blocks * layout.bytes);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < blocks; block++) {
    const part = values.subarray(block * layout.values, (block + 1) * layout.values);
    quantizers[type](part, { view, at: block * layout.bytes });
  }
  return bytes;
}
