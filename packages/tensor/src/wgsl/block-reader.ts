/**
 * Readers of GGUF's blocks. A unit is one word of codes: low nibbles are one quad, high nibbles another, further bits of a code come
 * from elsewhere in the block. Codes are put together as bytes of a word, four at a time.
 */
import { blockLayouts } from '../graph/block-types.ts';
import type { WeightFormat } from '../graph/weight.ts';
import type { WeightReader } from './weight-reader.ts';

/** WGSL `weightScale(row, unit)`: the f16 scale of the block that a unit lies in. */
export function scaleFunction(blocks: number, unitsPerBlock: number): string {
  return /* wgsl */ `
fn weightScale(row: u32, unit: u32) -> f32 {
  let index = row * ${blocks}u + unit / ${unitsPerBlock}u;
  let pair = unpack2x16float(scales[index >> 1u]);
  return select(pair.x, pair.y, (index & 1u) == 1u);
}`;
}

/** Four bytes as floats, less `zero`: each in the low mantissa bits of a power of two whose unit in that place is 1. Exact. */
function byteQuad(zero: number): string {
  const [even, odd] = [8_388_608 + zero, 32_768 + zero].map((value) => value.toFixed(1));
  return /* wgsl */ `
fn byteQuad(bytes: u32) -> vec4<f32> {
  let high = bytes >> 16u;
  return bitcast<vec4<f32>>((vec4<u32>(bytes, bytes, high, high) & vec4<u32>(0xffu, 0xff00u, 0xffu, 0xff00u))
    | vec4<u32>(0x4b000000u, 0x47000000u, 0x4b000000u, 0x47000000u)) - vec4<f32>(${even}, ${odd}, ${even}, ${odd});
}`;
}

const nibbles = 'let low = word & 0x0f0f0f0fu; let high = (word >> 4u) & 0x0f0f0f0fu;';

/** The fifth bits of quads `at` (low nibbles) and `at + 4` (high) of a block of 32, from its word `bits` of one bit a value. */
const fifthBits = /* wgsl */ `
fn spread(bits: u32) -> u32 { return (((bits & 0xfu) * 0x00204081u) & 0x01010101u) << 4u; }
fn withFifth(word: u32, bits: u32, quad: u32) -> vec2<u32> {
  ${nibbles}
  return vec2<u32>(low | spread(bits >> (4u * quad)), high | spread(bits >> (4u * quad + 16u)));
}`;

const unitStruct = /* wgsl */ `
struct WeightUnit { quads: vec2<u32>, factor: vec2<f32>, offset: vec2<f32> }
fn weightQuad0(bits: WeightUnit) -> vec4<f32> { return fma(byteQuad(bits.quads.x), vec4<f32>(bits.factor.x), vec4<f32>(bits.offset.x)); }
fn weightQuad1(bits: WeightUnit) -> vec4<f32> { return fma(byteQuad(bits.quads.y), vec4<f32>(bits.factor.y), vec4<f32>(bits.offset.y)); }`;

/** Six-bit scales and minimums of sub-blocks 2 `pair` and 2 `pair` + 1, times those of the block of 256 that begins at word `base`. */
const sixBits = /* wgsl */ `
fn scaled(quads: vec2<u32>, base: u32, pair: u32) -> WeightUnit {
  let shift = (pair & 1u) * 16u;
  let whole = unpack2x16float(codes[base]);
  let first = codes[base + 1u] >> shift;
  let second = codes[base + 2u] >> shift;
  let third = codes[base + 3u] >> shift;
  let upper = pair > 1u;
  let factors = select(first & 0x3f3fu, (third & 0x0f0fu) | ((first >> 2u) & 0x3030u), upper);
  let offsets = select(second & 0x3f3fu, ((third >> 4u) & 0x0f0fu) | ((second >> 2u) & 0x3030u), upper);
  return WeightUnit(
    quads,
    whole.x * vec2<f32>(f32(factors & 0xffu), f32(factors >> 8u)),
    -whole.y * vec2<f32>(f32(offsets & 0xffu), f32(offsets >> 8u)));
}`;

const affine = (quads: string) => /* wgsl */ `
  let whole = unpack2x16float(codes[base]);
  return WeightUnit(${quads}, vec2<f32>(whole.x), vec2<f32>(whole.y));`;

interface Recipe {
  /** What is taken off a code. */
  readonly zero: number;
  /** WGSL type of a unit, its declarations, and the body of `weightBits`. */
  readonly bitsType: string;
  readonly declarations: string;
  readonly body: string;
}

const affineUnit = { zero: 0, bitsType: 'WeightUnit' } as const;

const recipes: Readonly<Record<'q4_1' | 'q5_0' | 'q5_1' | 'q4_k' | 'q5_k' | 'q6_k', Recipe>> = {
  q4_1: {
    ...affineUnit,
    declarations: unitStruct,
    body: `let word = codes[base + 1u + at]; ${nibbles} ${affine('vec2<u32>(low, high)')}`,
  },
  q5_0: {
    zero: 16,
    bitsType: 'vec2<u32>',
    declarations: `${fifthBits}
fn weightQuad0(bits: vec2<u32>) -> vec4<f32> { return byteQuad(bits.x); }
fn weightQuad1(bits: vec2<u32>) -> vec4<f32> { return byteQuad(bits.y); }`,
    body: 'return withFifth(codes[base + 1u + at], codes[base], at);',
  },
  q5_1: {
    ...affineUnit,
    declarations: `${unitStruct}${fifthBits}`,
    body: affine('withFifth(codes[base + 2u + at], codes[base + 1u], at)'),
  },
  q4_k: {
    ...affineUnit,
    declarations: `${unitStruct}${sixBits}`,
    body: `let word = codes[base + 4u + at]; ${nibbles} return scaled(vec2<u32>(low, high), base, at >> 3u);`,
  },
  q5_k: {
    ...affineUnit,
    declarations: `${unitStruct}${sixBits}`,
    body: `let word = codes[base + 12u + at]; ${nibbles}
  let pair = at >> 3u;
  let fifth = codes[base + 4u + (at & 7u)] >> (2u * pair);
  return scaled(vec2<u32>(low | ((fifth & 0x01010101u) << 4u), high | ((fifth & 0x02020202u) << 3u)), base, pair);`,
  },
  q6_k: {
    ...affineUnit,
    zero: 32,
    declarations: `
struct WeightUnit { quads: vec2<u32>, factor: vec2<f32> }
fn weightQuad0(bits: WeightUnit) -> vec4<f32> { return byteQuad(bits.quads.x) * bits.factor.x; }
fn weightQuad1(bits: WeightUnit) -> vec4<f32> { return byteQuad(bits.quads.y) * bits.factor.y; }
fn signedByte(word: u32, byte: u32) -> f32 { return f32(bitcast<i32>(word << (24u - 8u * byte)) >> 24u); }`,
    body: `let word = codes[base + at]; ${nibbles}
  let upper = at >> 4u;
  let top = codes[base + 32u + upper * 8u + (at & 7u)] >> (((at >> 3u) & 1u) * 2u);
  let group = (at & 15u) >> 2u;
  let whole = unpack2x16float(codes[base + 52u]).x;
  let factor = whole * vec2<f32>(
    signedByte(codes[base + 48u + upper * 2u], group), signedByte(codes[base + 49u + upper * 2u], group));
  return WeightUnit(vec2<u32>(low | ((top & 0x03030303u) << 4u), high | (top & 0x30303030u)), factor);`,
  },
};

/** Units of a run of values, the values of the run, and how far the second quad lies behind the first. */
const runs: Readonly<Record<keyof typeof recipes, { readonly units: number; readonly apart: number }>> = {
  q4_1: { units: 4, apart: 16 },
  q5_0: { units: 4, apart: 16 },
  q5_1: { units: 4, apart: 16 },
  q4_k: { units: 8, apart: 32 },
  q5_k: { units: 8, apart: 32 },
  q6_k: { units: 16, apart: 64 },
};

/** The reader of rows of `width` values, a multiple of the block's, in one of GGUF's formats. */
export function blockReader(format: Extract<WeightFormat, keyof typeof recipes>, width: number): WeightReader {
  const { values, words, scaled } = blockLayouts[format];
  const { zero, bitsType, declarations, body } = recipes[format];
  const { units, apart } = runs[format];
  const [blocks, unitsPerBlock] = [width / values, values / 8];
  return {
    codesType: 'u32',
    scaled,
    units: blocks * unitsPerBlock,
    quads: 2,
    bitsType,
    position: (index, quad) =>
      `(${index} / ${units}u) * ${2 * apart}u + (${index} % ${units}u) * 4u + ${quad * apart}u`,
    functions: `${byteQuad(zero)}${declarations}
fn weightBits(row: u32, unit: u32) -> ${bitsType} {
  let base = (row * ${blocks}u + unit / ${unitsPerBlock}u) * ${words}u;
  let at = unit % ${unitsPerBlock}u;
  ${body}
}${scaled ? scaleFunction(blocks, unitsPerBlock) : ''}`,
  };
}
