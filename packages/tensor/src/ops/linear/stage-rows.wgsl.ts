/**
 * Rows of `x` as kernels that walk whole blocks of a weight want them: times the gain of a norm, in the precision of the arithmetic, and
 * in pieces of 16 bytes that neighbouring lanes find next to each other. Either a workgroup stages them for itself, or they come prepared
 * (`prepared-rows.wgsl.ts`); what is done to a value is the same text, so a row's bits are the same.
 */
import type { Arithmetic } from '../../compile/lowering.ts';
import { quantBlock } from '../../graph/weight.ts';
import type { LinearNorm } from './linear-slots.ts';
import { wgslLiteral } from '../elementwise/expression.ts';

/** Invocations of a workgroup that stages rows: which of them takes what fixes the order in which squares are added. */
export const stageWorkgroup = 128;

/** Pieces of 16 bytes that a block of 32 values takes. */
export const blockPieces: Readonly<Record<Arithmetic, number>> = { f32: 8, f16: 4, i8: 2 };

/** WGSL type of a piece. */
export const pieceType: Readonly<Record<Arithmetic, string>> = { f32: 'vec4<f32>', f16: 'vec4<u32>', i8: 'vec4<u32>' };

/** What is done to a row on its way. */
export interface RowStage {
  readonly arithmetic: Arithmetic;
  /** K, a multiple of 32. */
  readonly width: number;
  readonly norm: LinearNorm | undefined;
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Blocks of 32 values in a row. */
export const rowBlockCount = (width: number): number => width / quantBlock;

/** Where a row's values come from, and the names of what is read. */
export interface RowSource {
  /** WGSL of quad `quad` of the row. */
  readonly raw: (quad: string) => string;
  /** Binding that holds the gain. */
  readonly gain: string;
}

/** WGSL of what quad `quad` of a row is multiplied by, behind an operator; empty without a gain. */
export function gainOf({ norm, width }: RowStage, { gain: binding }: Pick<RowSource, 'gain'>, quad: string): string {
  if (norm?.gainRow === undefined) return '';
  const gain = `${binding}[${norm.gainRow * (width / 4)}u + ${quad}]`;
  return norm.offset === 0 ? ` * ${gain}` : ` * (${gain} + ${wgslLiteral(norm.offset, 'f32')})`;
}

/** WGSL that adds the squares of a quad to `<sum>`, one after another. */
export const addSquares = (quad: string, sum: string) =>
  [...'xyzw'].map((c) => `${sum} = fma(${quad}.${c}, ${quad}.${c}, ${sum});`).join(' ');

/** WGSL that reads a quad of a row, times the gain, into `name`, and adds its squares to `<sum>`. */
export function readQuad(
  stage: RowStage,
  source: RowSource,
  { name, quad, sum }: { readonly name: string; readonly quad: string; readonly sum: string },
): string {
  return `let raw_${name} = ${source.raw(quad)};
    ${stage.norm ? addSquares(`raw_${name}`, sum) : ''}
    let ${name} = raw_${name}${gainOf(stage, source, quad)};`;
}

/** WGSL of two values of a quad as halves in a word. */
export const halfPair = (name: string, c: string) => `bitcast<u32>(vec2<f16>(${name}.${c}))`;

/** WGSL of the bits of the magnitudes of a quad. They order as magnitudes do, with NaN above all: a NaN in a block makes its step NaN. */
export const magnitudes = (quad: string) => `(bitcast<vec4<u32>>(${quad}) & vec4<u32>(0x7fffffffu))`;

/** WGSL of the greatest of four. */
export const greatestOf = (four: string) => `max(max(${four}.x, ${four}.y), max(${four}.z, ${four}.w))`;

/** WGSL of what values of a block are multiplied by before they are rounded, and of the step of its codes, from its greatest magnitude. */
export const blockSteps = (greatest: string) => `let greatest = bitcast<f32>(${greatest});
    let inverse = select(0.0, 127.0 / greatest, greatest > 1.0e-30);
    let step = greatest * ${wgslLiteral(1 / 127, 'f32')};`;

/** WGSL of the codes of a quad. */
export const quadCodes = (quad: string) => `pack4xI8(vec4<i32>(round(${quad} * inverse)))`;

/**
 * WGSL that rounds block `block` of a row to 8 bits: codes of four values each in `c0` to `c7`, their step in `step`, and the squares of the
 * block added to `part`.
 */
export const roundBlock = (stage: RowStage, source: RowSource) => `
    ${range(8)
      .map((q) => readQuad(stage, source, { name: `v${q}`, quad: `block * 8u + ${q}u`, sum: 'part' }))
      .join('\n    ')}
    var peaks = vec4<u32>(0u);
    ${range(8)
      .map((q) => `peaks = max(peaks, ${magnitudes(`v${q}`)});`)
      .join(' ')}
    ${blockSteps(greatestOf('peaks'))}
    ${range(8)
      .map((q) => `let c${q} = ${quadCodes(`v${q}`)};`)
      .join('\n    ')}`;

/** The row as the kernel binds it. */
const bound = ({ width }: RowStage): RowSource => ({ raw: (quad) => `x[row * ${width / 4}u + ${quad}]`, gain: 'gain' });

/** Reads a quad, its squares added to those of the invocation as one number: who makes prepared rows adds up no more than a quad. */
const stageQuad = (stage: RowStage, name: string, quad: string) =>
  stage.norm
    ? `var part_${name} = 0.0;
    ${readQuad(stage, bound(stage), { name, quad, sum: `part_${name}` })}
    squares += part_${name};`
    : readQuad(stage, bound(stage), { name, quad, sum: '' });

// Quads i and i + 4 of a block side by side, each as the pairs (0, 2) and (1, 3): so do words of q4 and q8 decode.
const halves = (stage: RowStage) => `
    let block = item >> 2u;
    let at = item & 3u;
    ${stageQuad(stage, 'low', 'block * 8u + at')}
    ${stageQuad(stage, 'high', 'block * 8u + at + 4u')}
    put(m, block - first, at, vec4<u32>(${halfPair('low', 'xz')}, ${halfPair('low', 'yw')}, ${halfPair('high', 'xz')}, ${halfPair('high', 'yw')}));`;

const bytes = (stage: RowStage) => `
    let block = item;
    ${stage.norm ? 'var part = 0.0;' : ''}
    ${roundBlock(stage, bound(stage))}
    ${stage.norm ? 'squares += part;' : ''}
    put(m, block - first, 0u, vec4<u32>(c0, c1, c2, c3));
    put(m, block - first, 1u, vec4<u32>(c4, c5, c6, c7));
    putScale(m, block - first, step);`;

const floats = (stage: RowStage) => `
    ${stageQuad(stage, 'value', 'item')}
    put(m, (item >> 3u) - first, item & 7u, value);`;

/** Items that a block is staged in, and what is done with one. */
const items: Readonly<Record<Arithmetic, { readonly perBlock: number; readonly body: (stage: RowStage) => string }>> = {
  f32: { perBlock: 8, body: floats },
  f16: { perBlock: 4, body: halves },
  i8: { perBlock: 1, body: bytes },
};

/**
 * WGSL `stageRow(row, m, first, blocks, local, before) -> f32`: stages `blocks` blocks of a row from block `first` as row m and returns
 * its squares added to `before`. Invocation g mod 128 takes item g of the row whatever is staged at a time. It calls
 * `put(m, block, piece, value)` and, for i8, `putScale(m, block, step)`, which the kernel declares.
 */
export function stageFunction(stage: RowStage): string {
  const { perBlock, body } = items[stage.arithmetic];
  return /* wgsl */ `
fn stageRow(row: u32, m: u32, first: u32, blocks: u32, local: u32, before: f32) -> f32 {
  var squares = before;
  let begin = first * ${perBlock}u;
  let end = min(first + blocks, ${rowBlockCount(stage.width)}u) * ${perBlock}u;
  for (var item = begin + (local + ${stageWorkgroup}u - begin % ${stageWorkgroup}u) % ${stageWorkgroup}u; item < end; item += ${stageWorkgroup}u) {
    ${body(stage)}
  }
  return squares;
}`;
}

const squareSegments = 8;

/**
 * WGSL of the sums of squares of `rows` rows over a workgroup of `workgroup` invocations, from what {@link stageWorkgroup} of them have
 * left in `squareParts`: `addSquares(local)` in uniform control flow, then `squareTotal(m)`.
 */
export function squaresFunctions(rows: number, workgroup = stageWorkgroup): string {
  const length = stageWorkgroup / squareSegments;
  const others = range(squareSegments - 1).map((i) => ` + squareParts[at + ${(i + 1) * length}u]`);
  return /* wgsl */ `
var<workgroup> squareParts: array<f32, ${rows * stageWorkgroup}>;
fn addSquares(local: u32) {
  workgroupBarrier();
  for (var segment = local; segment < ${rows * squareSegments}u; segment += ${workgroup}u) {
    var sum = squareParts[segment * ${length}u];
    for (var i = 1u; i < ${length}u; i++) { sum += squareParts[segment * ${length}u + i]; }
    squareParts[segment * ${length}u] = sum;
  }
  workgroupBarrier();
}
fn squareTotal(m: u32) -> f32 {
  let at = m * ${stageWorkgroup}u;
  return squareParts[at]${others.join('')};
}`;
}
