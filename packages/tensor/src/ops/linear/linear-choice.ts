/**
 * Which kernel a linear operation takes, by kind of device and by shape. The lanes along K fix the order of every sum, so they follow
 * from the device and the matrix alone, never from the number of rows; what is free to change with the rows changes no bit.
 */
import type { Arithmetic } from '../../compile/lowering.ts';
import type { AdapterKind, Device } from '../../device/device.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { weightReader } from '../../wgsl/weight-reader.ts';
import type { LinearDeviceKind } from './linear-device.ts';
import { linearDeviceKind } from './linear-device.ts';
import type { LinearSlots } from './linear-slots.ts';
import { matricesOf, sumsSquares } from './linear-slots.ts';
import type { MatmulCut } from './matmul.wgsl.ts';
import type { CutOptions } from './block-cut.ts';
import { blockCandidates, blockCut, blockLanes } from './block-cut.ts';
import { carried } from './carried.ts';
import type { TileCut } from './tile-cut.ts';
import { tileCandidates, tileCut } from './tile-cut.ts';
import { writesRows, writingCut } from './written-cut.ts';
import { walksBlocks } from './matvec-blocks.wgsl.ts';
import { hasHalfKernel } from './matvec-f16.wgsl.ts';
import type { MatvecCut } from './matvec.wgsl.ts';
import { matvecMemoryBytes } from './matvec.wgsl.ts';

/** Most rows of the decode path: up to here a row's bits do not depend on how many rows there are. */
export const decodeRows = 64;

/** Lanes along K of a matrix, the reduction family: one of 1, 8, 32, 64. */
export function matvecLanes(kind: AdapterKind, format: WeightFormat, width: number): number {
  // Barriers and lanes that wait are dear where lanes are emulated.
  if (kind === 'software') return 1;
  return weightReader(format, width).units >= 16 ? 32 : 8;
}

/** Workgroup memory that every device has, in bytes. */
const portableMemoryBytes = 16_384;

/** One or two rows: memory's latency rules, so a lane has about four loads of the weight under way, of one row or of several. */
function fewRows(slots: LinearSlots): { outputs: number; ahead: number } {
  if (slots.outputs >= 65_536) return { outputs: 8 / slots.rows, ahead: 1 };
  if (slots.outputs >= 8192) return { outputs: 4 / matricesOf(slots), ahead: matricesOf(slots) === 2 ? 2 : 1 };
  // What is done to `x` on the way is shared by the rows of the weight that a lane carries.
  const outputs = sumsSquares(slots) ? 2 / matricesOf(slots) : 1;
  return { outputs, ahead: outputs * matricesOf(slots) === 2 ? 2 : 4 };
}

function hardwareCut(slots: LinearSlots, lanes: number, subgroups: boolean): MatvecCut {
  const perLane = weightReader(slots.format, slots.width).units / lanes;
  const divides = (wanted: number) => [wanted, wanted / 2, 1].find((ahead) => perLane % ahead === 0) ?? 1;
  if (slots.rows <= 2) {
    const { outputs, ahead } = fewRows(slots);
    return { lanes, outputs, rows: slots.rows, workgroup: 128, ahead: divides(ahead), subgroups };
  }
  const [most, rows] = carried(slots, slots.outputs);
  const outputs = Math.max(1, most / matricesOf(slots));
  const cut = { lanes, outputs, rows, workgroup: 128, ahead: outputs * rows <= 8 ? divides(2) : 1, subgroups };
  const fits = subgroups || matvecMemoryBytes({ slots, cut }) <= portableMemoryBytes;
  return fits ? cut : { ...cut, workgroup: 64 };
}

function softwareCut(slots: LinearSlots, lanes: number): MatvecCut {
  const rows = slots.rows > 2 ? 4 : slots.rows;
  return { lanes, outputs: Math.max(2, 4 / matricesOf(slots)), rows, workgroup: 32, ahead: 1, subgroups: false };
}

/**
 * Whether lanes take whole blocks of the matrix, in this arithmetic: on hardware where there is work for 16 lanes, and always for i8.
 * It fixes the order of sums as the lanes do, so it follows from the device and the matrix alone, by default or by one measurement.
 */
export function takesBlocks(kind: AdapterKind, slots: LinearSlots, arithmetic: Arithmetic): boolean {
  if (!walksBlocks(slots)) return false;
  return arithmetic === 'i8' || (kind === 'hardware' && slots.width >= 16 * 32);
}

/** How the kernel whose lanes take words of a block, or vectors of floats, cuts these slots. */
export function unitCut(
  { kind, subgroupLanes }: Pick<LinearDeviceKind, 'kind' | 'subgroupLanes'>,
  slots: LinearSlots,
): MatvecCut {
  const lanes = matvecLanes(kind, slots.format, slots.width);
  return kind === 'software' ? softwareCut(slots, lanes) : hardwareCut(slots, lanes, lanes <= subgroupLanes);
}

/** Whether a matrix whose rows do not come prepared takes the cuts of those that do, with a dispatch that prepares them: no other can write. */
const hasPrepared = (device: LinearDeviceKind, slots: LinearSlots, arithmetic: Arithmetic): boolean =>
  !writesRows(device, slots, writingCut(device, slots, blockCut(device, slots, arithmetic)));

/** How the decode kernel cuts these slots on a device of this kind. `ready`: what makes `x` writes its rows prepared. */
export function matvecCut(
  device: LinearDeviceKind,
  slots: LinearSlots,
  arithmetic: Arithmetic = 'f32',
  ready = false,
): MatvecCut {
  if (takesBlocks(device.kind, slots, arithmetic)) {
    const prepared = ready || hasPrepared(device, slots, arithmetic);
    return writingCut(device, slots, blockCut(device, slots, arithmetic, prepared));
  }
  const cut = writingCut(device, slots, unitCut(device, slots));
  return arithmetic === 'f16' && hasHalfKernel(slots) ? { ...cut, arithmetic } : cut;
}

/** Those of these cuts that can write what the slots want written, each made to. */
function writing(device: LinearDeviceKind, slots: LinearSlots, cuts: readonly MatvecCut[]): readonly MatvecCut[] {
  const [first, ...others] = cuts.map((cut) => writingCut(device, slots, cut));
  const able = [first!, ...others.filter((cut) => writesRows(device, slots, cut))];
  return [...new Map(able.map((cut) => [JSON.stringify(cut), cut])).values()];
}

/** Other cuts of the same order of sums: weight rows a lane, and loads ahead. */
function unitCandidates(cut: MatvecCut, slots: LinearSlots): MatvecCut[] {
  const matrices = matricesOf(slots);
  const others = [1, 2, 4].filter((outputs) => outputs >= matrices && outputs * cut.rows <= 32);
  const cuts = others.flatMap((outputs) =>
    [1, cut.rows === 1 ? 4 : 2].map((ahead): MatvecCut => ({ ...cut, outputs: outputs / matrices, ahead })),
  );
  const fits = (other: MatvecCut) => other.subgroups || matvecMemoryBytes({ slots, cut: other }) <= portableMemoryBytes;
  const distinct = cuts.filter((other) => fits(other) && cutText(other) !== cutText(cut));
  return [...new Map(distinct.map((other) => [cutText(other), other])).values()];
}

/** An order of sums: cuts of one family give the same bits. */
export interface MatvecFamily {
  readonly name: string;
  /** Cuts worth timing for a number of rows, the default first. */
  readonly cuts: (slots: LinearSlots, options?: CutOptions) => readonly MatvecCut[];
}

/**
 * Orders of sums that are worth comparing for a matrix, the table's own first. Which one is taken has to hold for every number of rows.
 */
export function linearFamilies(
  device: LinearDeviceKind,
  slots: LinearSlots,
  arithmetic: Arithmetic,
): readonly MatvecFamily[] {
  const blocks: MatvecFamily = {
    name: `blocks of ${blockLanes(device, slots.width)} lanes`,
    cuts: (own, options = {}) => {
      const ready = options.ready || hasPrepared(device, own, arithmetic);
      return writing(device, own, blockCandidates(device, own, arithmetic, { ...options, ready }));
    },
  };
  const words: MatvecFamily = {
    name: `words of ${matvecLanes(device.kind, slots.format, slots.width)} lanes`,
    cuts: (own) => {
      const half = arithmetic === 'f16' && hasHalfKernel(own);
      const first: MatvecCut = { ...unitCut(device, own), ...(half ? { arithmetic } : {}) };
      return writing(device, own, [first, ...unitCandidates(first, own)]);
    },
  };
  const byBlocks = takesBlocks(device.kind, slots, arithmetic);
  if (byBlocks && arithmetic === 'i8') return [blocks];
  if (byBlocks) return [blocks, words];
  return walksBlocks(slots) ? [words, blocks] : [words];
}

/** A cut in words; different cuts of one matrix have different ones. */
export function cutText({ lanes, outputs, rows, workgroup, ahead, subgroups, blocks }: MatvecCut): string {
  const prepared = `, prepared${blocks?.next ? ', next loaded' : ''}`;
  const x = { staged: `, ${blocks?.tiles} staged`, prepared, words: '' };
  const source = blocks ? (blocks.tiles > 0 ? 'staged' : 'prepared') : 'words';
  return `${lanes} lanes, R ${outputs}, C ${rows}, ${workgroup} wide, ${ahead} ahead${x[source]}${subgroups ? ', subgroups' : ''}`;
}

/** How the prefill kernel cuts these slots; undefined where the decode kernel serves better. */
export function matmulCut(
  { kind }: Pick<LinearDeviceKind, 'kind'>,
  slots: LinearSlots,
  arithmetic: Arithmetic = 'f32',
): MatmulCut | undefined {
  if (kind === 'software' || slots.rows <= decodeRows) return undefined;
  return tileCut(slots, arithmetic);
}

/**
 * Whether a norm in front of a matrix is done once, by a kernel of its own, or by every workgroup as it walks `x`. The second saves a
 * dispatch, and costs as much arithmetic as one row of the weight for each row of `x`.
 */
export function preparesNorm(kind: AdapterKind, rows: number): boolean {
  return rows >= { software: 2, hardware: 8 }[kind];
}

/** How kernels are chosen; the table unless a test or a benchmark says otherwise. */
export interface LinearChoice {
  /** `ready`: what makes `x` writes its rows prepared. */
  readonly matvec: (slots: LinearSlots, ready?: boolean) => MatvecCut;
  /** Undefined: the decode kernel, whatever the number of rows. */
  readonly matmul: (slots: LinearSlots) => TileCut | undefined;
  readonly lanes: (format: WeightFormat, width: number) => number;
  readonly preparesNorm: (rows: number) => boolean;
  /** Orders of sums worth timing, that of `matvec` first; at least one. */
  readonly families?: (slots: LinearSlots) => readonly MatvecFamily[];
  /** The same of `matmul`, where it is not undefined; above 64 rows bits may follow from the tile. */
  readonly matmuls?: (slots: LinearSlots) => readonly TileCut[];
}

/** The table's choice for a kind of device; see {@link linearChoice}. */
export function kindChoice(kind: LinearDeviceKind, arithmetic: Arithmetic): LinearChoice {
  return {
    matvec: (slots, ready) => matvecCut(kind, slots, arithmetic, ready),
    matmul: (slots) => matmulCut(kind, slots, arithmetic),
    // What is emulated is not worth a choice between orders of sums, so bits there never depend on time.
    families: (slots) => linearFamilies(kind, slots, arithmetic).slice(0, kind.kind === 'software' ? 1 : undefined),
    matmuls: (slots) => tileCandidates({ device: kind, slots, arithmetic }),
    lanes: (format, width) => matvecLanes(kind.kind, format, width),
    preparesNorm: (rows) => preparesNorm(kind.kind, rows),
  };
}

/**
 * The table's choice for a device. Arithmetic in f16 is for weights in q8 and q4, and of the decode kernel for f16 too; in i8 for q8 and
 * q4 in rows of whole blocks. Other formats stay in f32.
 */
export function linearChoice(device: Device, arithmetic: Arithmetic = 'f32'): LinearChoice {
  return kindChoice(linearDeviceKind(device), arithmetic);
}
