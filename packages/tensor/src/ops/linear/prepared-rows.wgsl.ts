/**
 * Prepared rows: an activation in the order, precision and pieces in which kernels of whole blocks read it. Whatever makes the activation
 * writes it so, as the last thing it does; a kernel of its own (`prepare-rows.wgsl.ts`) does it where the maker cannot.
 *
 * A row is a run of vectors of 16 bytes: its pieces, `[tile][piece][lane]`; for i8 the step and the sum of codes of each block, two blocks a
 * vector; behind a norm the squares of the values, added up by quads of four or, for i8, by blocks of 32.
 */
import type { Arithmetic } from '../../compile/lowering.ts';
import type { Binding } from '../../kernel/define-kernel.ts';
import { read, write } from '../../kernel/define-kernel.ts';
import type { LinearNorm } from './linear-slots.ts';
import type { RowSource } from './stage-rows.wgsl.ts';
import { blockPieces, halfPair, readQuad, roundBlock, rowBlockCount } from './stage-rows.wgsl.ts';

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
  const steps = arithmetic === 'i8' ? Math.ceil(rowBlockCount(width) / 2) : 0;
  const sums = norm ? width / rowUnit[arithmetic] : 0;
  return { stepsAt: pieces, squaresAt: pieces + steps, vectors: pieces + steps + Math.ceil(sums / 4) };
}

/** Bytes of a prepared row. */
export const preparedRowBytes = (form: RowForm): number => rowLayout(form).vectors * 16;

/** Values that are prepared together: a kernel that writes prepared rows has as many neighbouring ones at a time, or a multiple. */
export const rowUnit: Readonly<Record<Arithmetic, 4 | 32>> = { f32: 4, f16: 4, i8: 32 };

/** Bindings of a kernel that writes prepared rows. */
export function rowBindings({ norm }: Pick<RowForm, 'norm'>): Record<string, Binding> {
  return {
    prepared: write('u32'),
    ...(norm?.gainRow === undefined ? {} : { preparedGain: read('vec4<f32>') }),
  };
}

/**
 * WGSL `prepareUnit(row, unit, from)`: writes values `unit * n ..< (unit + 1) * n` of a row, n being {@link rowUnit}. They are the quads
 * `rawQuad(from)` and on, a function that the kernel declares.
 */
export function rowWriter(form: RowForm): string {
  const { arithmetic, lanes, norm } = form;
  const { stepsAt, squaresAt, vectors } = rowLayout(form);
  const quads = rowUnit[arithmetic] / 4;
  const source: RowSource = { raw: (quad) => `rawQuad(from_ + ${quad} - unit * ${quads}u)`, gain: 'preparedGain' };
  const piece = (block: string, index: string) =>
    `(row * ${vectors}u + (${block} / ${lanes}u * ${blockPieces[arithmetic]}u + ${index}) * ${lanes}u + ${block} % ${lanes}u) * 4u`;
  const aside = (vector: number, word: string) => `row * ${vectors * 4}u + ${vector * 4}u + ${word}`;
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
  let stepAt = ${aside(stepsAt, 'block * 2u')};
  ${put('stepAt', ['bitcast<u32>(step)', 'bitcast<u32>(sum)'])}`,
  };
  return /* wgsl */ `
fn prepareUnit(row: u32, unit: u32, from_: u32) {
  ${norm ? 'var part = 0.0;' : ''}
  ${bodies[arithmetic]()}
  ${norm ? `prepared[${aside(squaresAt, 'unit')}] = bitcast<u32>(part);` : ''}
}`;
}

/** WGSL `rawQuad(at)` of values that a kernel has kept in workgroup memory, `array<f32>` named `kept`. */
export const keptQuadWgsl = /* wgsl */ `
fn rawQuad(at: u32) -> vec4<f32> { return vec4<f32>(kept[at * 4u], kept[at * 4u + 1u], kept[at * 4u + 2u], kept[at * 4u + 3u]); }`;
