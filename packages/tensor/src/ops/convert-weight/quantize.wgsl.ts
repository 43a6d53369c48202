import type { WeightFormat } from '../../graph/weight.ts';
import { quantBlock } from '../../graph/weight.ts';
import { conversionFlags } from './conversion-flags.ts';

interface Coding {
  readonly low: number;
  readonly high: number;
  /** Codes onto which candidate scales map the value of largest magnitude; the first is the usual one. */
  readonly anchors: readonly number[];
  /** The value that anchors are measured against. */
  readonly extreme: string;
  /** Words of a block, and how word `word` is packed from `code(i)`, the code of value i as u32. */
  readonly words: number;
  readonly packed: string;
}

const codings: Readonly<Record<'q8' | 'q4', Coding>> = {
  q8: {
    low: -127,
    high: 127,
    anchors: [127, 126.5, 126, 125.5, 125],
    extreme: 'abs(extreme)',
    words: 8,
    packed: `for (var i = 0u; i < 4u; i++) { bits |= (code(word * 4u + i, scale) & 0xffu) << (8u * i); }`,
  },
  q4: {
    low: -8,
    high: 7,
    // At -7 both signs of the extreme can be met; past -8 it is clipped in favour of the others.
    anchors: [
      -8, -7, -7.125, -7.25, -7.375, -7.5, -7.625, -7.75, -7.875, -8.125, -8.25, -8.375, -8.5, -8.625, -8.75, -8.875,
      -9,
    ],
    extreme: 'extreme',
    words: 4,
    packed: `for (var i = 0u; i < 4u; i++) {
      bits |= ((code(word * 4u + i, scale) + 8u) & 0xfu) << (8u * i);
      bits |= ((code(word * 4u + i + 16u, scale) + 8u) & 0xfu) << (8u * i + 4u);
    }`,
  },
};

/**
 * WGSL `quantize(row, k, place)`: the block of 32 values from `k` becomes codes and a scale that minimise the squared error over a
 * fixed set of candidates. Each anchor gives a start, its codes give the least-squares scale, that scale (rounded to f16) gives the
 * codes that are judged. The usual scale, without the least-squares step, comes first, so that the result is never worse than it.
 */
export function quantizeWgsl(format: WeightFormat): string {
  const { low, high, anchors, extreme, words, packed } = codings[format as 'q8' | 'q4'];
  const last = `${quantBlock}u`;
  return /* wgsl */ `
var<private> anchors: array<f32, ${anchors.length}> = array<f32, ${anchors.length}>(${anchors.map((anchor) => anchor.toFixed(3)).join(', ')});
var<private> values: array<f32, ${quantBlock}>;
var<private> bestScale: u32;
var<private> bestError: f32;
fn encode(v: f32, scale: f32) -> f32 { return clamp(round(v / scale), ${low.toFixed(1)}, ${high.toFixed(1)}); }
fn code(i: u32, scale: f32) -> u32 { return bitcast<u32>(i32(encode(values[i], scale))); }
fn consider(wanted: f32) {
  let rounded = halfFromFloat(bitcast<u32>(wanted));
  if ((rounded & 0x7fffu) == 0u || (rounded & 0x7c00u) == 0x7c00u) { return; }
  let scale = bitcast<f32>(floatFromHalf(rounded));
  var error = 0.0;
  for (var i = 0u; i < ${last}; i++) {
    let off = fma(-scale, encode(values[i], scale), values[i]);
    error = fma(off, off, error);
  }
  if (error < bestError) { bestError = error; bestScale = rounded; }
}
fn quantize(row: u32, k: u32, place: u32) {
  var extreme = 0.0;
  for (var i = 0u; i < ${last}; i++) {
    values[i] = bitcast<f32>(value(row, k + i));
    if (abs(values[i]) > abs(extreme)) { extreme = values[i]; }
  }
  extreme = ${extreme};
  bestScale = 0u;
  bestError = 3.0e38;
  consider(extreme / anchors[0]);
  for (var a = 0u; a < ${anchors.length}u; a++) {
    let start = extreme / anchors[a];
    if (abs(start) < 1.0e-30) { continue; }
    var products = 0.0;
    var squares = 0.0;
    for (var i = 0u; i < ${last}; i++) {
      let c = encode(values[i], start);
      products = fma(values[i], c, products);
      squares = fma(c, c, squares);
    }
    if (squares > 0.0) { consider(products / squares); }
  }
  if (bestScale == 0u && abs(extreme) > 1.0) { fail(${conversionFlags.tooLarge}u); }
  let scale = select(1.0, bitcast<f32>(floatFromHalf(bestScale)), bestScale != 0u);
  let zero = select(0.0, 1.0, bestScale != 0u);
  for (var i = 0u; i < ${last}; i++) { values[i] *= zero; }
  for (var word = 0u; word < ${words}u; word++) {
    var bits = 0u;
    ${packed}
    codes[place * ${words}u + word] = bits;
  }
  // Two blocks share a word of scales, and invocations of neighbouring pieces may meet in it.
  let shift = (place & 1u) * 16u;
  atomicAnd(&scales[place >> 1u], ~(0xffffu << shift));
  atomicOr(&scales[place >> 1u], bestScale << shift);
}`;
}
