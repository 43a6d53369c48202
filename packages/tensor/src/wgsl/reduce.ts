import type { Device } from '../device/device.ts';

/** WGSL function that combines one value of each lane over a workgroup. */
export interface WorkgroupReduction {
  /** Name of the function `(lane: u32, value: type) -> type`; call it in uniform control flow. */
  readonly name: string;
  readonly type: string;
  /** Lanes of the workgroup, a power of two. */
  readonly lanes: number;
  /** WGSL expression that combines `a` and `b`. */
  readonly combine: string;
}

/**
 * A workgroup reduction in a fixed order and with three barriers: lane g of the first `G = 2^floor(log2(lanes) / 2)` folds values
 * g, g + G, g + 2G, ... in that order, then every lane folds the G results from 0 up. All lanes get the same bits.
 */
export function workgroupReduceWgsl({ name, type, lanes, combine }: WorkgroupReduction): string {
  const groups = 2 ** Math.floor(Math.log2(lanes) / 2);
  return /* wgsl */ `
var<workgroup> ${name}Values: array<${type}, ${lanes}>;
fn ${name}Combine(a: ${type}, b: ${type}) -> ${type} { return ${combine}; }
fn ${name}(lane: u32, value: ${type}) -> ${type} {
  ${name}Values[lane] = value;
  workgroupBarrier();
  if (lane < ${groups}u) {
    var folded = ${name}Values[lane];
    for (var i = lane + ${groups}u; i < ${lanes}u; i += ${groups}u) { folded = ${name}Combine(folded, ${name}Values[i]); }
    ${name}Values[lane] = folded;
  }
  workgroupBarrier();
  var total = ${name}Values[0];
  for (var g = 1u; g < ${groups}u; g++) { total = ${name}Combine(total, ${name}Values[g]); }
  workgroupBarrier();
  return total;
}`;
}

/**
 * Lanes that share a row of `width` elements. It follows from the width and the kind of adapter alone, never from the number of
 * rows, so that the order of a row's sum is the same in any company. A software adapter runs four lanes as one vector and pays
 * for each barrier, so it gets few.
 */
export function rowLanes(device: Device, width: number): number {
  if (device.adapter.kind === 'software') return 4;
  if (width >= 1024) return 256;
  return width >= 128 ? 64 : 32;
}

/**
 * Largest and smallest of two numbers where a NaN stays; WGSL leaves that open. NaN is told by its bits, since comparing a float
 * with itself may be optimised away.
 */
export const extremesWgsl = /* wgsl */ `
fn isNan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn maxOrNan(a: f32, b: f32) -> f32 { return select(max(a, b), a + b, isNan(a) || isNan(b)); }
fn minOrNan(a: f32, b: f32) -> f32 { return select(min(a, b), a + b, isNan(a) || isNan(b)); }`;
