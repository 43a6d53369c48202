import { ArgumentError } from '../errors.ts';
import { type BlockType, blockLayouts, formatOfBlocks } from './block-types.ts';
import { float16Value } from './float16.ts';

const f32 = Math.fround;

/** Where one block is read from and written to. */
interface Place {
  readonly view: DataView;
  /** Byte position of the block. */
  readonly at: number;
  readonly values: Float32Array;
  /** Index of the block's first value. */
  readonly to: number;
}

type Decode = (place: Place) => void;

const halfAt = ({ view, at }: Place, byte: number) => float16Value(view.getUint16(at + byte, true));

function eightBits(place: Place): void {
  const { view, at, values, to } = place;
  const scale = halfAt(place, 0);
  for (let i = 0; i < 32; i++) values[to + i] = scale * view.getInt8(at + 2 + i);
}

/** 32 values of four bits, five with `highAt`; `shift` is added to each code, or `offset` to each product. */
function narrow(
  place: Place,
  parts: { readonly codesAt: number; readonly highAt?: number; readonly shift: number; readonly offset?: number },
): void {
  const { view, at, values, to } = place;
  const scale = halfAt(place, 0);
  const high = parts.highAt === undefined ? 0 : view.getUint32(at + parts.highAt, true);
  for (let i = 0; i < 32; i++) {
    const nibble = (view.getUint8(at + parts.codesAt + (i % 16)) >> (i < 16 ? 0 : 4)) & 15;
    const product = scale * ((nibble | (((high >>> i) & 1) << 4)) + parts.shift);
    values[to + i] = parts.offset === undefined ? product : f32(f32(product) + parts.offset);
  }
}

/** Scale and minimum, six bits each, of sub-block `j` of a block of 256 whose twelve packed bytes begin at byte 4. */
function sixBits({ view, at }: Place, j: number): readonly [scale: number, minimum: number] {
  const byte = (i: number) => view.getUint8(at + 4 + i);
  if (j < 4) return [byte(j) & 63, byte(j + 4) & 63];
  return [(byte(j + 4) & 15) | ((byte(j - 4) >> 6) << 4), (byte(j + 4) >> 4) | ((byte(j) >> 6) << 4)];
}

/** 256 values in eight sub-blocks of 32, four bits each, five with `highAt`. */
function subBlocks(place: Place, { codesAt, highAt }: { readonly codesAt: number; readonly highAt?: number }): void {
  const { view, at, values, to } = place;
  const [scale, minimum] = [halfAt(place, 0), halfAt(place, 2)];
  for (let j = 0; j < 8; j++) {
    const [s, m] = sixBits(place, j);
    const [factor, offset] = [f32(scale * s), f32(minimum * m)];
    for (let i = 0; i < 32; i++) {
      const nibble = (view.getUint8(at + codesAt + (j >> 1) * 32 + i) >> ((j & 1) * 4)) & 15;
      const high = highAt === undefined ? 0 : (view.getUint8(at + highAt + i) >> j) & 1;
      values[to + j * 32 + i] = f32(f32(factor * (nibble | (high << 4))) - offset);
    }
  }
}

function sixBitCodes(place: Place): void {
  const { view, at, values, to } = place;
  const scale = halfAt(place, 208);
  for (let i = 0; i < 256; i++) {
    const [upper, within] = [i >> 7, i & 127];
    const low = (view.getUint8(at + upper * 64 + (within & 63)) >> ((within >> 6) * 4)) & 15;
    const high = (view.getUint8(at + 128 + upper * 32 + (within & 31)) >> ((within >> 5) * 2)) & 3;
    const factor = f32(scale * view.getInt8(at + 192 + (i >> 4)));
    values[to + i] = factor * ((low | (high << 4)) - 32);
  }
}

const decoders: Readonly<Record<BlockType, Decode>> = {
  Q8_0: eightBits,
  Q4_0: (place) => narrow(place, { codesAt: 2, shift: -8 }),
  Q4_1: (place) => narrow(place, { codesAt: 4, shift: 0, offset: halfAt(place, 2) }),
  Q5_0: (place) => narrow(place, { codesAt: 6, highAt: 2, shift: -16 }),
  Q5_1: (place) => narrow(place, { codesAt: 8, highAt: 4, shift: 0, offset: halfAt(place, 2) }),
  Q4_K: (place) => subBlocks(place, { codesAt: 16 }),
  Q5_K: (place) => subBlocks(place, { codesAt: 48, highAt: 16 }),
  Q6_K: sixBitCodes,
};

/**
 * Values of whole blocks as a GGUF file holds them, in float32 as the format's reference computes them, bit for bit.
 *
 * @param bytes - Whole blocks, little-endian.
 * @throws ArgumentError when the bytes are no whole number of blocks.
 */
export function dequantizeBlocks(type: BlockType, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const layout = blockLayouts[formatOfBlocks[type]];
  if (bytes.length % layout.bytes !== 0) {
    throw new ArgumentError(`Expected whole ${type} blocks of ${layout.bytes} bytes, got ${bytes.length} bytes.`);
  }
  const blocks = bytes.length / layout.bytes;
  const values = new Float32Array(blocks * layout.values);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let block = 0; block < blocks; block++) {
    decoders[type]({ view, at: block * layout.bytes, values, to: block * layout.values });
  }
  return values;
}
