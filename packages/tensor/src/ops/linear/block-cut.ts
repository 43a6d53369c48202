/** How kernels that walk whole blocks are cut by default, and the other cuts of the same order of sums that are worth timing. */
import type { Arithmetic } from '../../compile/lowering.ts';
import { balanced, carried, mostCarried } from './carried.ts';
import type { LinearDeviceKind } from './linear-device.ts';
import type { LinearSlots } from './linear-slots.ts';
import { matricesOf } from './linear-slots.ts';
import { blockMemoryBytes } from './matvec-blocks.wgsl.ts';
import type { MatvecCut } from './matvec.wgsl.ts';
import { rowTiles, rowUnit } from './prepared-rows.wgsl.ts';
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

/** What a list of cuts is for. */
export interface CutOptions {
  /** What makes `x` writes its rows prepared. */
  readonly ready?: boolean;
  /** For exploring: many more than are worth timing at each load. */
  readonly wide?: boolean;
}

/** Rows of `x` a lane, weight rows and blocks ahead. */
type Share = readonly [rows: number, outputs: number, ahead: number, next?: boolean];

/** Weight rows a lane, and blocks ahead, for one or two prepared rows: memory's latency rules, so about four loads are under way. */
function readyShare(slots: LinearSlots, arithmetic: Arithmetic): readonly [outputs: number, ahead: number] {
  const matrices = matricesOf(slots);
  const weightRows = slots.outputs * matrices;
  // Who writes units of 32 does so with small workgroups where lanes make several outputs.
  if (slots.written && rowUnit[slots.written.form.arithmetic] === 32 && weightRows >= 16_384) return [4 * matrices, 1];
  if (weightRows >= 65_536) return [4, 1];
  if (weightRows >= 16_384) return [2, 2];
  return [1, arithmetic === 'f16' && slots.rows === 1 ? 8 : 4];
}

/** Sums of a lane, and blocks of the weight it has under way, for several rows in i8: more of either crowd the registers. */
const [laneSums, underWay] = [32, 8];

/** Rows of `x`, weight rows and blocks ahead for several prepared rows. */
function severalShare(slots: LinearSlots, arithmetic: Arithmetic): Share {
  const matrices = matricesOf(slots);
  const few = arithmetic === 'i8' && slots.rows <= 16;
  const most = few ? (slots.rows === 4 ? 2 : 4) : mostCarried;
  const [weightRows, rows] = carried(slots, slots.outputs * matrices, most);
  if (!few) return [rows, weightRows, 1];
  // Where lanes carry as many weight rows as leave enough groups, those of a gate can have as many outputs.
  const shared = weightRows === 4 && rows * weightRows * matrices <= laneSums ? weightRows * matrices : weightRows;
  return [rows, shared, Math.max(1, Math.min(2, underWay / shared))];
}

/**
 * The default cut: rows come prepared; one or two, where what makes them does not write them so, are staged in the kernel, which saves a
 * dispatch.
 */
export function blockCut(
  device: LinearDeviceKind,
  slots: LinearSlots,
  arithmetic: Arithmetic,
  ready = false,
): MatvecCut {
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
  if (slots.rows <= 2 && ready) {
    const [most, ahead] = readyShare(slots, arithmetic);
    const outputs = Math.max(1, most / matrices);
    const within = Math.min(ahead, rowTiles(slots.width, lanes));
    return { ...base, outputs, rows: slots.rows, ahead: within, blocks: { tiles: 0 } };
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
  const [rows, most, wanted] = severalShare(slots, arithmetic);
  const outputs = Math.max(1, most / matrices);
  const ahead = Math.min(wanted, rowTiles(slots.width, lanes));
  const cut = { ...base, outputs, rows, ahead, blocks: { tiles: 0 } };
  // Without subgroups lanes exchange their sums through memory, which many sums may not fit.
  if (blockMemoryBytes({ slots, cut }) <= device.memoryBytes) return cut;
  return { ...cut, outputs: Math.max(1, outputs / 2), rows: Math.ceil(rows / 2) };
}

/** For one or two prepared rows. */
const fewReady = ({ rows }: LinearSlots): Share[] =>
  (
    [
      [1, 4],
      [1, 8],
      [2, 2],
      [2, 4],
      [4, 1],
      [4, 2],
      [8, 1],
      [8, 2],
    ] as const
  ).map(([outputs, ahead]) => [rows, outputs, ahead]);

/** For more rows; lanes that carry few of them have more blocks ahead. */
function many(slots: LinearSlots): Share[] {
  const { rows } = slots;
  const most = rows > mostCarried / 2 ? [mostCarried / 2, mostCarried] : [2, 4].filter((n) => n >= rows / 2);
  return most.flatMap((count) => {
    const carries = balanced(rows, count);
    const shares: readonly (readonly [outputs: number, ahead: number])[] = [
      ...(carries <= 2 ? ([[1, 2]] as const) : []),
      [2, carries <= 4 ? 2 : 1],
      [4, 1],
      ...(carries <= 4 ? ([[4, 2]] as const) : []),
      ...(carries <= 2 || matricesOf(slots) === 2 ? ([[8, 1]] as const) : []),
    ];
    return shares.map(([outputs, ahead]): Share => [carries, outputs, ahead]);
  });
}

/** Everything that might be of use to prepared rows. */
function everyShare({ rows }: LinearSlots): Share[] {
  const counts = rows <= 2 ? [rows] : [2, 4, 8, 16].filter((n) => n >= rows / 4 && n < 2 * rows);
  const aheads = rows <= 2 ? [1, 2, 4, 8] : [1, 2];
  return counts.flatMap((count) =>
    [1, 2, 4, 8].flatMap((outputs) =>
      aheads.flatMap((ahead): Share[] => {
        const share = [balanced(rows, count), outputs, ahead] as const;
        const loaded = outputs * ahead;
        return [
          ...(loaded <= 16 ? [share] : []),
          ...(ahead <= 2 && loaded <= 8 && (rows <= 2 || ahead === 1) ? [[...share, true] as const] : []),
        ];
      }),
    ),
  );
}

/** Other cuts that give the same bits, the default first: candidates of the choice table. */
export function blockCandidates(
  device: LinearDeviceKind,
  slots: LinearSlots,
  arithmetic: Arithmetic,
  { ready = false, wide = false }: CutOptions = {},
): MatvecCut[] {
  const first = blockCut(device, slots, arithmetic, ready);
  const matrices = matricesOf(slots);
  const found = new Map([[JSON.stringify(first), first]]);
  const add = (cut: MatvecCut) => {
    if (blockMemoryBytes({ slots, cut }) <= device.memoryBytes) found.set(JSON.stringify(cut), cut);
  };
  const shares = ready && wide ? everyShare(slots) : ready && slots.rows <= 2 ? fewReady(slots) : many(slots);
  const tiles = rowTiles(slots.width, first.lanes);
  for (const [rows, weightRows, most, next] of shares) {
    const ahead = Math.min(most, tiles);
    if (weightRows < matrices || weightRows * rows > 32) continue;
    const cut = { ...first, outputs: weightRows / matrices, rows };
    if (ready || slots.rows > 2) {
      const whole = next && tiles % ahead === 0 && tiles > ahead;
      if (!next || whole) add({ ...cut, ahead, blocks: { tiles: 0, ...(next ? { next } : {}) } });
    }
    if (ready) continue;
    const staged = stagedTiles(device, slots, { ...cut, blocks: { tiles: 1 } }, 16);
    const two = rows === 1 && weightRows <= 4 && staged % 2 === 0;
    if (staged > 0) add({ ...cut, ahead: two ? 2 : 1, blocks: { tiles: staged } });
  }
  return [...found.values()];
}
