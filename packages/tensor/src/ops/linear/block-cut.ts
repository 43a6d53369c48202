/** How kernels that walk whole blocks are cut by default, and the other cuts of the same order of sums that are worth timing. */
import type { Arithmetic } from '../../compile/lowering.ts';
import { balanced, carried, mostCarried } from './carried.ts';
import type { LinearDeviceKind } from './linear-device.ts';
import type { LinearSlots } from './linear-slots.ts';
import { matricesOf } from './linear-slots.ts';
import { blockMemoryBytes } from './matvec-blocks.wgsl.ts';
import type { MatvecCut } from './matvec.wgsl.ts';
import { rowTiles } from './prepared-rows.wgsl.ts';
import { rowBlockCount, stageWorkgroup } from './stage-rows.wgsl.ts';

/** Workgroup memory up to which two workgroups fit on a core of every device. */
const modestMemoryBytes = 16_384;

/** Lanes along K: fixed by the matrix and the kind of device, since they fix the order of sums. */
export function blockLanes({ kind }: Pick<LinearDeviceKind, 'kind'>, width: number): number {
  // Lanes that wait at barriers are dear where lanes are emulated.
  if (kind === 'software') return 1;
  return rowBlockCount(width) >= 32 ? 32 : 16;
}

/** Tiles to stage so that memory and the number of tiles allow it, at most `most`. */
function stagedTiles(device: LinearDeviceKind, slots: LinearSlots, cut: MatvecCut, most: number): number {
  const tiles = rowTiles(slots.width, cut.lanes);
  const fits = (count: number, bytes: number) =>
    blockMemoryBytes({ slots, cut: { ...cut, blocks: { tiles: count } } }) <= bytes;
  const counts = [16, 12, 8, 7, 6, 4, 3, 2, 1].filter((count) => count <= most && tiles % count === 0);
  const bytes = Math.min(device.memoryBytes, modestMemoryBytes);
  return counts.find((count) => fits(count, bytes)) ?? (fits(1, device.memoryBytes) ? 1 : 0);
}

/** The default cut: for one or two rows staged in the kernel, for more prepared once for all workgroups. */
export function blockCut(device: LinearDeviceKind, slots: LinearSlots, arithmetic: Arithmetic): MatvecCut {
  const lanes = blockLanes(device, slots.width);
  const matrices = matricesOf(slots);
  const base = {
    lanes,
    workgroup: stageWorkgroup,
    subgroups: lanes > 1 && lanes <= device.subgroupLanes,
    arithmetic,
  } as const;
  if (device.kind === 'software') {
    const outputs = Math.max(1, 4 / matrices);
    return {
      ...base,
      outputs,
      rows: Math.min(4, 2 ** Math.ceil(Math.log2(slots.rows))),
      ahead: 1,
      blocks: { tiles: 0 },
    };
  }
  if (slots.rows <= 2) {
    // More weight rows a lane share what is staged; fewer make more groups of lanes, which a small matrix needs.
    const most = [4, 2].find((count) => (slots.outputs * matrices) / count >= 2048) ?? 1;
    const outputs = Math.max(1, most / matrices);
    const cut = { ...base, outputs, rows: slots.rows, ahead: slots.rows === 1 ? 2 : 1 };
    const tiles = stagedTiles(device, slots, { ...cut, blocks: { tiles: 1 } }, 16);
    const ahead = tiles % cut.ahead === 0 ? cut.ahead : 1;
    return { ...cut, ahead, blocks: { tiles } };
  }
  const [most, rows] = carried(slots, slots.outputs * matrices);
  const outputs = Math.max(1, most / matrices);
  const cut = { ...base, outputs, rows, ahead: 1, blocks: { tiles: 0 } };
  // Without subgroups lanes exchange their sums through memory, which many sums may not fit.
  if (blockMemoryBytes({ slots, cut }) <= device.memoryBytes) return cut;
  return { ...cut, outputs: Math.max(1, outputs / 2), rows: Math.ceil(rows / 2) };
}

/** Other cuts that give the same bits, the default first: candidates of the choice table. */
export function blockCandidates(device: LinearDeviceKind, slots: LinearSlots, arithmetic: Arithmetic): MatvecCut[] {
  const first = blockCut(device, slots, arithmetic);
  const matrices = matricesOf(slots);
  const found = new Map([[JSON.stringify(first), first]]);
  const most =
    slots.rows > mostCarried / 2 ? [mostCarried / 2, mostCarried] : [2, 4].filter((n) => n >= slots.rows / 2);
  for (const rows of new Set(most.map((count) => balanced(slots.rows, count)))) {
    const least = rows >= 4 ? 2 : 1;
    for (const outputs of [1, 2, 4, 8].filter((n) => n >= Math.max(least, matrices) && n * rows <= 32)) {
      const cut = { ...first, outputs: outputs / matrices, rows };
      const staged = stagedTiles(device, slots, { ...cut, blocks: { tiles: 1 } }, 16);
      for (const tiles of new Set([staged, ...(slots.rows > 1 ? [0] : [])])) {
        const whole = tiles === 0 ? rowTiles(slots.width, cut.lanes) : tiles;
        const ahead = rows === 1 && outputs <= 4 && whole % 2 === 0 ? 2 : 1;
        const candidate = { ...cut, ahead, blocks: { tiles } };
        if (blockMemoryBytes({ slots, cut: candidate }) <= device.memoryBytes)
          found.set(JSON.stringify(candidate), candidate);
      }
    }
  }
  return [...found.values()];
}
