/**
 * Which kernel a linear operation takes, by kind of device and by shape. The lanes along K fix the order of every sum, so they follow
 * from the device and the matrix alone, never from the number of rows; what is free to change with the rows changes no bit.
 */
import type { AdapterKind, Device } from '../../device/device.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { weightReader } from '../../wgsl/weight-reader.ts';
import type { LinearSlots } from './linear-slots.ts';
import { matricesOf } from './linear-slots.ts';
import type { MatmulCut } from './matmul.wgsl.ts';
import type { MatvecCut } from './matvec.wgsl.ts';
import { matvecMemoryBytes } from './matvec.wgsl.ts';

/** Most rows of the decode path: up to here a row's bits do not depend on how many rows there are. */
export const decodeRows = 64;

/** What the table knows of a device. */
export interface LinearDeviceKind {
  readonly kind: AdapterKind;
  /** Lanes that every subgroup has at least; 0 where subgroups are off. */
  readonly subgroupLanes: number;
}

/** Kind of a device for the table of linear kernels. */
export function linearDeviceKind(device: Device): LinearDeviceKind {
  const subgroupLanes = device.has('subgroups') ? (device.gpu.adapterInfo.subgroupMinSize ?? 0) : 0;
  return { kind: device.adapter.kind, subgroupLanes };
}

/** Lanes along K of a matrix, the reduction family: one of 1, 8, 32, 64. */
export function matvecLanes(kind: AdapterKind, format: WeightFormat, width: number): number {
  // Barriers and lanes that wait are dear where lanes are emulated.
  if (kind === 'software') return 1;
  return weightReader(format, width).units >= 16 ? 32 : 8;
}

/** Workgroup memory that every device has, in bytes. */
const portableMemoryBytes = 16_384;

function hardwareCut(slots: LinearSlots, lanes: number, subgroups: boolean): MatvecCut {
  const units = weightReader(slots.format, slots.width).units;
  const rows = slots.rows >= 8 ? 8 : slots.rows > 2 ? 4 : slots.rows;
  const budget = rows >= 4 ? 4 : 2;
  const outputs = Math.max(1, (slots.outputs < 2048 ? 1 : budget) / matricesOf(slots));
  const ahead = slots.rows === 1 && units % (lanes * 2) === 0 ? 2 : 1;
  const cut = { lanes, outputs, rows, workgroup: 128, ahead, subgroups };
  const fits = subgroups || matvecMemoryBytes({ slots, cut }) <= portableMemoryBytes;
  return fits ? cut : { ...cut, workgroup: 64 };
}

function softwareCut(slots: LinearSlots, lanes: number): MatvecCut {
  const rows = slots.rows > 2 ? 4 : slots.rows;
  return { lanes, outputs: Math.max(2, 4 / matricesOf(slots)), rows, workgroup: 32, ahead: 1, subgroups: false };
}

/** How the decode kernel cuts these slots on a device of this kind. */
export function matvecCut({ kind, subgroupLanes }: LinearDeviceKind, slots: LinearSlots): MatvecCut {
  const lanes = matvecLanes(kind, slots.format, slots.width);
  return kind === 'software' ? softwareCut(slots, lanes) : hardwareCut(slots, lanes, lanes <= subgroupLanes);
}

/** How the prefill kernel cuts these slots; undefined where the decode kernel serves better. */
export function matmulCut({ kind }: LinearDeviceKind, slots: LinearSlots): MatmulCut | undefined {
  if (kind === 'software' || slots.rows <= decodeRows) return undefined;
  const large = slots.rows > 64 && slots.outputs >= 4096;
  const outputs = 4 / matricesOf(slots);
  return { rows: large ? 8 : 4, outputs, depth: 16 };
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
  readonly matvec: (slots: LinearSlots) => MatvecCut;
  /** Undefined: the decode kernel, whatever the number of rows. */
  readonly matmul: (slots: LinearSlots) => MatmulCut | undefined;
  readonly lanes: (format: WeightFormat, width: number) => number;
  readonly preparesNorm: (rows: number) => boolean;
}

/** The table's choice for a device. */
export function linearChoice(device: Device): LinearChoice {
  const kind = linearDeviceKind(device);
  return {
    matvec: (slots) => matvecCut(kind, slots),
    matmul: (slots) => matmulCut(kind, slots),
    lanes: (format, width) => matvecLanes(kind.kind, format, width),
    preparesNorm: (rows) => preparesNorm(kind.kind, rows),
  };
}
