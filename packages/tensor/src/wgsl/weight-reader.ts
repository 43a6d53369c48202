import type { WeightFormat } from '../graph/weight.ts';
import { quantBlock, rowWords } from '../graph/weight.ts';
import { blockReader, scaleFunction } from './block-reader.ts';

/**
 * How kernels read the rows of a weight. A row is cut into units, the piece that one lane takes at a time; a unit holds one or two
 * quads of four values that lie next to each other. Neighbouring units are neighbouring words, so lanes that take neighbouring units
 * read neighbouring memory, of the weight and of the activations. Values of `q8`, `q4` and `q5_0` come unscaled: their scale is a
 * factor of the whole unit.
 */
export interface WeightReader {
  /** Element type of the binding `codes`. */
  readonly codesType: string;
  /** Whether there is a binding `scales` (u32), and a factor for each unit. */
  readonly scaled: boolean;
  /** Units of one row. */
  readonly units: number;
  /** Quads of one unit, 1 or 2. */
  readonly quads: number;
  /** WGSL type that `weightBits` returns. */
  readonly bitsType: string;
  /** WGSL index along the row of the first value of a quad. */
  readonly position: (unit: string, quad: number) => string;
  /**
   * `weightBits(row, unit)` loads a unit; `weightQuad0(bits)` and `weightQuad1(bits)` decode it; `weightScale(row, unit)` where
   * scaled. Values past the row's end may be anything finite.
   */
  readonly functions: string;
}

const halves = (decode: string) => /* wgsl */ `
fn weightPair(bits: u32) -> vec2<f32> { return ${decode}; }
fn weightQuad0(bits: vec4<u32>) -> vec4<f32> { return vec4<f32>(weightPair(bits.x), weightPair(bits.y)); }
fn weightQuad1(bits: vec4<u32>) -> vec4<f32> { return vec4<f32>(weightPair(bits.z), weightPair(bits.w)); }`;

const halfPair: Readonly<Record<'f16' | 'bf16', string>> = {
  f16: 'unpack2x16float(bits)',
  bf16: 'vec2<f32>(bitcast<f32>(bits << 16u), bitcast<f32>(bits & 0xffff0000u))',
};

function floatReader(width: number): WeightReader {
  const units = Math.ceil(width / 4);
  const whole = /* wgsl */ `
fn weightBits(row: u32, unit: u32) -> vec4<f32> { return codes[row * ${units}u + unit]; }`;
  const ragged = /* wgsl */ `
fn weightValue(row: u32, k: u32) -> f32 { return codes[row * ${width}u + min(k, ${width - 1}u)]; }
fn weightBits(row: u32, unit: u32) -> vec4<f32> {
  let k = unit * 4u;
  return vec4<f32>(weightValue(row, k), weightValue(row, k + 1u), weightValue(row, k + 2u), weightValue(row, k + 3u));
}`;
  const aligned = width % 4 === 0;
  return {
    codesType: aligned ? 'vec4<f32>' : 'f32',
    scaled: false,
    units,
    quads: 1,
    bitsType: 'vec4<f32>',
    position: (unit) => `${unit} * 4u`,
    functions: `${aligned ? whole : ragged}\nfn weightQuad0(bits: vec4<f32>) -> vec4<f32> { return bits; }`,
  };
}

function halfReader(format: 'f16' | 'bf16', width: number): WeightReader {
  const units = Math.ceil(width / 8);
  const words = rowWords(format, width);
  const whole = /* wgsl */ `
fn weightBits(row: u32, unit: u32) -> vec4<u32> { return codes[row * ${units}u + unit]; }`;
  const ragged = /* wgsl */ `
fn weightWord(row: u32, word: u32) -> u32 { return codes[row * ${words}u + min(word, ${words - 1}u)]; }
fn weightBits(row: u32, unit: u32) -> vec4<u32> {
  let word = unit * 4u;
  return vec4<u32>(weightWord(row, word), weightWord(row, word + 1u), weightWord(row, word + 2u), weightWord(row, word + 3u));
}`;
  const aligned = width % 8 === 0;
  return {
    codesType: aligned ? 'vec4<u32>' : 'u32',
    scaled: false,
    units,
    quads: 2,
    bitsType: 'vec4<u32>',
    position: (unit, quad) => `${unit} * 8u + ${quad * 4}u`,
    functions: `${aligned ? whole : ragged}${halves(halfPair[format])}`,
  };
}

/**
 * Integers become floats without a conversion: a code in the low mantissa bits of a power of two whose unit in that place is 1, less
 * that power. Exact, and cheaper than a conversion on most hardware.
 */
const eightBitQuad = /* wgsl */ `
fn weightQuad0(bits: u32) -> vec4<f32> {
  let low = bits ^ 0x80808080u;
  let high = low >> 16u;
  return bitcast<vec4<f32>>((vec4<u32>(low, low, high, high) & vec4<u32>(0xffu, 0xff00u, 0xffu, 0xff00u))
    | vec4<u32>(0x4b000000u, 0x47000000u, 0x4b000000u, 0x47000000u)) - vec4<f32>(8388736.0, 32896.0, 8388736.0, 32896.0);
}`;

const fourBitQuads = /* wgsl */ `
fn weightQuad0(bits: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>((vec4<u32>(bits, bits, bits, bits >> 12u) & vec4<u32>(0xfu, 0xf00u, 0xf0000u, 0xf000u))
    | vec4<u32>(0x4b000000u, 0x47000000u, 0x43000000u, 0x45000000u)) - vec4<f32>(8388616.0, 32776.0, 136.0, 2056.0);
}
fn weightQuad1(bits: u32) -> vec4<f32> {
  let high = bits >> 12u;
  return bitcast<vec4<f32>>((vec4<u32>(bits, bits, high, high) & vec4<u32>(0xf0u, 0xf000u, 0xf00u, 0xf0000u))
    | vec4<u32>(0x49000000u, 0x45000000u, 0x47000000u, 0x43000000u)) - vec4<f32>(524296.0, 2056.0, 32776.0, 136.0);
}`;

/**
 * WGSL that decodes a word of codes as floats without their scale: `weightQuad0(bits)`, of q4 its low nibbles, and of q4 alone
 * `weightQuad1(bits)`, its high nibbles.
 */
export const codeQuads: Readonly<Record<'q8' | 'q4', string>> = { q8: eightBitQuad, q4: fourBitQuads };

function eightBitReader(width: number): WeightReader {
  const blocks = Math.ceil(width / quantBlock);
  return {
    codesType: 'u32',
    scaled: true,
    units: blocks * 8,
    quads: 1,
    bitsType: 'u32',
    position: (unit) => `${unit} * 4u`,
    functions: /* wgsl */ `
fn weightBits(row: u32, unit: u32) -> u32 { return codes[row * ${blocks * 8}u + unit]; }${eightBitQuad}${scaleFunction(blocks, 8)}`,
  };
}

function fourBitReader(width: number): WeightReader {
  const blocks = Math.ceil(width / quantBlock);
  return {
    codesType: 'u32',
    scaled: true,
    units: blocks * 4,
    quads: 2,
    bitsType: 'u32',
    position: (unit, quad) => `(${unit} >> 2u) * 32u + (${unit} & 3u) * 4u + ${quad * 16}u`,
    functions: /* wgsl */ `
fn weightBits(row: u32, unit: u32) -> u32 { return codes[row * ${blocks * 4}u + unit]; }${fourBitQuads}${scaleFunction(blocks, 4)}`,
  };
}

/** The reader of rows of `width` values in `format`. */
export function weightReader(format: WeightFormat, width: number): WeightReader {
  const readers: Record<WeightFormat, () => WeightReader> = {
    f32: () => floatReader(width),
    f16: () => halfReader('f16', width),
    bf16: () => halfReader('bf16', width),
    q8: () => eightBitReader(width),
    q4: () => fourBitReader(width),
    q4_1: () => blockReader('q4_1', width),
    q5_0: () => blockReader('q5_0', width),
    q5_1: () => blockReader('q5_1', width),
    q4_k: () => blockReader('q4_k', width),
    q5_k: () => blockReader('q5_k', width),
    q6_k: () => blockReader('q6_k', width),
  };
  return readers[format]();
}

/**
 * WGSL `name(row, k)`: four values of row `row` of the f32 binding `name` from index `k`, a multiple of 4, with zeros past `width`.
 * The binding's element type is {@link quadType}. `padded` says that k may lie past the end of the row.
 */
export function quadFunction(binding: string, width: number, { padded }: { padded: boolean }): string {
  const at = (i: number) =>
    `select(0.0, ${binding}[row * ${width}u + min(k + ${i}u, ${width - 1}u)], k + ${i}u < ${width}u)`;
  const ragged = `return vec4<f32>(${[0, 1, 2, 3].map(at).join(', ')});`;
  const guarded = `return select(vec4<f32>(0.0), ${binding}[row * ${width / 4}u + min(k >> 2u, ${width / 4 - 1}u)], k < ${width}u);`;
  const plain = `return ${binding}[row * ${width / 4}u + (k >> 2u)];`;
  const body = width % 4 !== 0 ? ragged : padded ? guarded : plain;
  return `fn ${binding}Quad(row: u32, k: u32) -> vec4<f32> { ${body} }`;
}

/** Element type of a binding that {@link quadFunction} reads. */
export function quadType(width: number): string {
  return width % 4 === 0 ? 'vec4<f32>' : 'f32';
}
