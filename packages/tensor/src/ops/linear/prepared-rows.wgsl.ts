/**
 * Prepared rows: an activation in the order, precision and pieces in which kernels of whole blocks read it. Whatever makes the activation
 * writes it so, as the last thing it does; a kernel of its own (`prepare-rows.wgsl.ts`) does it where the maker cannot.
 *
 * A row is a run of vectors of 16 bytes: its pieces, `[tile][piece][lane]`; for i8 the steps of its blocks, four a vector; behind a norm the squares of the values, added up by quads of four or, for i8, by blocks of 32.
 */
import type { Arithmetic } from '../../compile/lowering.ts';
import type { Binding } from '../../kernel/define-kernel.ts';
import { read, write } from '../../kernel/define-kernel.ts';
import type { LinearNorm } from './linear-slots.ts';
import type { RowSource } from './stage-rows.wgsl.ts';
import {
  addSquares,
  blockPieces,
  blockSteps,
  gainOf,
  greatestOf,
  halfPair,
  magnitudes,
  quadCodes,
  readQuad,
  roundBlock,
  rowBlockCount,
} from './stage-rows.wgsl.ts';

/** What prepared rows follow from, in terms of a kernel. */
export interface RowForm {
  readonly arithmetic: Arithmetic;
  /** Lanes along K of the matrix kernel that reads them. */
  readonly lanes: number;
  /** K, a multiple of 32. */
  readonly width: number;
  /** The norm in front of the matrix. */
  readonly norm: LinearNorm | undefined;
}

/** Blocks of each lane: a row has `tiles * lanes` places for blocks. */
export const rowTiles = (width: number, lanes: number): number => Math.ceil(rowBlockCount(width) / lanes);

/** Where the parts of a row begin, in vectors of 16 bytes from its own, and how many it has. */
export function rowLayout({ arithmetic, lanes, width, norm }: RowForm) {
  const pieces = rowTiles(width, lanes) * lanes * blockPieces[arithmetic];
  const steps = arithmetic === 'i8' ? Math.ceil(rowBlockCount(width) / 4) : 0;
  const sums = norm ? width / rowUnit[arithmetic] : 0;
  return { stepsAt: pieces, squaresAt: pieces + steps, vectors: pieces + steps + Math.ceil(sums / 4) };
}

/** Bytes of a prepared row. */
export const preparedRowBytes = (form: RowForm): number => rowLayout(form).vectors * 16;

/** Values that are prepared together: a kernel that writes prepared rows has as many neighbouring ones at a time, or a multiple. */
export const rowUnit: Readonly<Record<Arithmetic, 4 | 32>> = { f32: 4, f16: 4, i8: 32 };

/** Binding of the gain of what is written. */
const gain = 'preparedGain';

/** Bindings of a kernel that writes prepared rows. */
export function rowBindings({ norm }: Pick<RowForm, 'norm'>): Record<string, Binding> {
  return {
    prepared: write('u32'),
    ...(norm?.gainRow === undefined ? {} : { [gain]: read('vec4<f32>') }),
  };
}

/** WGSL of places of a row, in words: of a piece of a block, and of word `word` behind vector `vector`. */
function places(form: RowForm) {
  const { arithmetic, lanes } = form;
  const { stepsAt, squaresAt, vectors } = rowLayout(form);
  const aside = (vector: number) => (word: string) => `row * ${vectors * 4}u + ${vector * 4}u + ${word}`;
  return {
    piece: (block: string, index: string) =>
      `(row * ${vectors}u + (${block} / ${lanes}u * ${blockPieces[arithmetic]}u + ${index}) * ${lanes}u + ${block} % ${lanes}u) * 4u`,
    step: aside(stepsAt),
    squares: aside(squaresAt),
  };
}

/**
 * WGSL `prepareUnit(row, unit, from)`: writes values `unit * n ..< (unit + 1) * n` of a row, n being {@link rowUnit}. They are the quads
 * `rawQuad(from)` and on, a function that the kernel declares.
 */
export function rowWriter(form: RowForm): string {
  const { arithmetic, norm } = form;
  const { piece, step, squares } = places(form);
  const quads = rowUnit[arithmetic] / 4;
  const source: RowSource = { raw: (quad) => `rawQuad(from_ + ${quad} - unit * ${quads}u)`, gain };
  const put = (at: string, words: readonly string[]) =>
    words.map((word, i) => `prepared[${at} + ${i}u] = ${word};`).join(' ');
  const value = readQuad(form, source, { name: 'value', quad: 'unit', sum: 'part' });
  const bodies: Readonly<Record<Arithmetic, () => string>> = {
    f32: () => `${value}
  let at = ${piece('(unit >> 3u)', '(unit & 7u)')};
  ${put(
    'at',
    [...'xyzw'].map((c) => `bitcast<u32>(value.${c})`),
  )}`,
    f16: () => `${value}
  let at = ${piece('(unit >> 3u)', '(unit & 3u)')} + ((unit >> 2u) & 1u) * 2u;
  ${put(
    'at',
    ['xz', 'yw'].map((c) => halfPair('value', c)),
  )}`,
    i8: () => `let block = unit;
  ${roundBlock(form, source)}
  let low = ${piece('block', '0u')};
  let high = ${piece('block', '1u')};
  ${put('low', ['c0', 'c1', 'c2', 'c3'])}
  ${put('high', ['c4', 'c5', 'c6', 'c7'])}
  prepared[${step('block')}] = bitcast<u32>(step);`,
  };
  return /* wgsl */ `
fn prepareUnit(row: u32, unit: u32, from_: u32) {
  ${norm ? 'var part = 0.0;' : ''}
  ${bodies[arithmetic]()}
  ${norm ? `prepared[${squares('unit')}] = bitcast<u32>(part);` : ''}
}`;
}

/** WGSL `rawQuad(at)` of values that a kernel has kept in workgroup memory, `array<f32>` named `kept`. */
export const keptQuadWgsl = /* wgsl */ `
fn rawQuad(at: u32) -> vec4<f32> { return vec4<f32>(kept[at * 4u], kept[at * 4u + 1u], kept[at * 4u + 2u], kept[at * 4u + 3u]); }`;

/** What the invocations of a workgroup write together: so many units of so many rows. */
export interface UnitTile {
  readonly rows: number;
  /** Of each row. */
  readonly units: number;
  /** Invocations. */
  readonly threads: number;
}

/** Bytes of workgroup memory of {@link tileWriter} for units of so many values in all. */
export const tileWriterBytes = ({ arithmetic }: RowForm, values: number): number => (arithmetic === 'i8' ? values : 0);

/**
 * WGSL `prepareTile(firstRow, endRow, firstUnit, local)`, in uniform control flow: writes what there is of a tile of units, each row's quads
 * being the next of `rawQuad(0)` and on, a function that the kernel declares and whose values invocations have left in workgroup memory.
 * Eight invocations round a block of i8; the bits are those of `prepareUnit`.
 */
export function tileWriter(form: RowForm, tile: UnitTile): string {
  return form.arithmetic === 'i8' ? blockTileWriter(form, tile) : quadTileWriter(form, tile);
}

const prepareTile = 'fn prepareTile(firstRow: u32, endRow: u32, firstUnit: u32, local: u32)';

/** Each invocation takes units of a quad. */
function quadTileWriter(form: RowForm, { rows, units, threads }: UnitTile): string {
  const unit = rowUnit[form.arithmetic];
  return /* wgsl */ `
${rowWriter(form)}
${prepareTile} {
  workgroupBarrier();
  for (var item = local; item < ${rows * units}u; item += ${threads}u) {
    let row = firstRow + item / ${units}u;
    let unit = firstUnit + item % ${units}u;
    if (row < endRow && unit < ${form.width / unit}u) { prepareUnit(row, unit, item * ${unit / 4}u); }
  }
}`;
}

/** Each invocation takes quads of a block, whose greatest magnitude they find together; squares have a fixed order, so one sums a block's. */
function blockTileWriter(form: RowForm, { rows, units, threads }: UnitTile): string {
  const { piece, step, squares } = places(form);
  const [blocks, quads] = [rows * units, rows * units * 8];
  const rounds = Array.from({ length: Math.ceil(quads / threads) }, (_, i) => i);
  const peak = Array.from({ length: 8 }, (_, q) => `tilePeaks[first + ${q}u]`).reduce((a, b) => `max(${a}, ${b})`);
  const find = (i: number) => /* wgsl */ `
  let item${i} = local + ${i * threads}u;
  let row${i} = firstRow + item${i} / ${units * 8}u;
  let quad${i} = firstUnit * 8u + item${i} % ${units * 8}u;
  let there${i} = item${i} < ${quads}u && row${i} < endRow && quad${i} < ${form.width / 4}u;
  var value${i} = vec4<f32>(0.0);
  if (there${i}) {
    value${i} = rawQuad(item${i})${gainOf(form, { gain }, `quad${i}`)};
    let peaks = ${magnitudes(`value${i}`)};
    tilePeaks[item${i}] = ${greatestOf('peaks')};
  }`;
  const round = (i: number) => /* wgsl */ `
  if (there${i}) {
    let row = row${i};
    let block = quad${i} / 8u;
    let first = item${i} & ~7u;
    ${blockSteps(peak)}
    prepared[${piece('block', `(quad${i} / 4u % 2u)`)} + quad${i} % 4u] = ${quadCodes(`value${i}`)};
    if (quad${i} % 8u == 0u) { prepared[${step('block')}] = bitcast<u32>(step); }
  }`;
  const sum = /* wgsl */ `
  // From the other end: invocations that have no quads, if there are any.
  for (var item = ${threads - 1}u - local; item < ${blocks}u; item += ${threads}u) {
    let row = firstRow + item / ${units}u;
    let unit = firstUnit + item % ${units}u;
    if (row < endRow && unit < ${form.width / 32}u) {
      var part = 0.0;
      for (var q = 0u; q < 8u; q++) { let raw = rawQuad(item * 8u + q); ${addSquares('raw', 'part')} }
      prepared[${squares('unit')}] = bitcast<u32>(part);
    }
  }`;
  return /* wgsl */ `
var<workgroup> tilePeaks: array<u32, ${quads}>;
${prepareTile} {
  workgroupBarrier();
  ${rounds.map(find).join('')}
  workgroupBarrier();
  ${rounds.map(round).join('')}
  ${form.norm ? sum : ''}
}`;
}
