/**
 * Which kernel a linear operation takes, by kind of device and by shape. The lanes along K fix the order of every sum, so they follow
 * from the device and the matrix alone, never from the number of rows; what is free to change with the rows changes no bit.
 */
import type { Device } from '../../device/device.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { weightReader } from '../../wgsl/weight-reader.ts';
import type { LinearSlots } from './linear-slots.ts';
import { matricesOf } from './linear-slots.ts';
import type { MatvecCut } from './matvec.wgsl.ts';

/** Most rows of the decode path: up to here a row's bits do not depend on how many rows there are. */
export const decodeRows = 64;

/** What the table knows of a device. */
export type LinearDeviceKind = 'software' | 'hardware';

/** Kind of a device for the table of linear kernels. */
export function linearDeviceKind(device: Device): LinearDeviceKind {
  return device.adapter.kind;
}

/** Lanes along K of a matrix, the reduction family: one of 1, 8, 32, 64. */
export function matvecLanes(kind: LinearDeviceKind, format: WeightFormat, width: number): number {
  // Barriers and lanes that wait are dear where lanes are emulated.
  if (kind === 'software') return 1;
  return weightReader(format, width).units >= 16 ? 32 : 8;
}

function hardwareCut(slots: LinearSlots, lanes: number): MatvecCut {
  const units = weightReader(slots.format, slots.width).units;
  const rows = slots.rows >= 8 ? 8 : slots.rows > 2 ? 4 : slots.rows;
  const budget = rows >= 4 ? 4 : 2;
  const outputs = Math.max(1, (slots.outputs < 2048 ? 1 : budget) / matricesOf(slots));
  const ahead = slots.rows === 1 && units % (lanes * 2) === 0 ? 2 : 1;
  return { lanes, outputs, rows, workgroup: 128, ahead };
}

function softwareCut(slots: LinearSlots, lanes: number): MatvecCut {
  const rows = Math.min(slots.rows, 4);
  return { lanes, outputs: rows >= 4 ? 2 : 1, rows, workgroup: 32, ahead: 1 };
}

/** How the decode kernel cuts these slots on a device of this kind. */
export function matvecCut(kind: LinearDeviceKind, slots: LinearSlots): MatvecCut {
  const lanes = matvecLanes(kind, slots.format, slots.width);
  return { software: softwareCut, hardware: hardwareCut }[kind](slots, lanes);
}

/**
 * Whether a norm in front of a matrix is done once, by a kernel of its own, or by every workgroup as it walks `x`. The second saves a
 * dispatch, and costs as much arithmetic as one row of the weight for each row of `x`.
 */
export function preparesNorm(kind: LinearDeviceKind, rows: number): boolean {
  return kind === 'software' || rows >= 8;
}

/** How kernels are chosen; the table unless a test or a benchmark says otherwise. */
export interface LinearChoice {
  readonly cut: (slots: LinearSlots) => MatvecCut;
  readonly lanes: (format: WeightFormat, width: number) => number;
  readonly preparesNorm: (rows: number) => boolean;
}

/** The table's choice for a device. */
export function linearChoice(device: Device): LinearChoice {
  const kind = linearDeviceKind(device);
  return {
    cut: (slots) => matvecCut(kind, slots),
    lanes: (format, width) => matvecLanes(kind, format, width),
    preparesNorm: (rows) => preparesNorm(kind, rows),
  };
}
