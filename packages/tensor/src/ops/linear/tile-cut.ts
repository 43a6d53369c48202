/** How the kernels of prefill are cut: the table's own tiles, and those that are worth timing. */
import type { Arithmetic } from '../../compile/lowering.ts';
import type { LinearDeviceKind } from './linear-device.ts';
import type { LinearSlots } from './linear-slots.ts';
import { matricesOf } from './linear-slots.ts';
import { blocksMemoryBytes, isBlocksCut } from './matmul-blocks.wgsl.ts';
import type { MatrixCut } from './matmul-matrix.wgsl.ts';
import type { MatmulCut } from './matmul.wgsl.ts';
import { matmulLanes, matmulMemoryBytes, matmulSides, matmulTile, matmulWorkgroups } from './matmul.wgsl.ts';
import { matrixCandidates } from './matrix-cut.ts';
import { walksBlocks } from './matvec-blocks.wgsl.ts';

/** How a kernel of prefill is cut, whichever it is. */
export type TileCut = MatmulCut | MatrixCut;

/** What tiles follow from. */
interface TileQuestion {
  readonly device: LinearDeviceKind;
  readonly slots: LinearSlots;
  readonly arithmetic: Arithmetic;
}

/** Workgroups below which tiles are made smaller, so that more of the device has work. */
const busyTiles = 128;

/** Workgroup memory and invocations that every device allows. */
const portable = { memoryBytes: 16_384, invocations: 256 };

/** Rows of `x` of a lane, rows of the weight, and values along K of a slice; sides where they are not 16 by 16. */
type Tile = readonly [rows: number, weights: number, depth: number, sides?: readonly [down: number, across: number]];

/** Tiles that every device can have, the largest first. */
const own: Readonly<Record<Arithmetic, readonly Tile[]>> = {
  f32: [
    [8, 4, 16],
    [4, 4, 16],
    [4, 2, 16],
    [2, 2, 32],
  ],
  f16: [
    [8, 4, 32],
    [4, 4, 32],
    [4, 2, 32],
    [2, 2, 32],
  ],
  i8: [
    [8, 4, 64],
    [4, 4, 64],
    [4, 2, 64],
    [2, 2, 64],
  ],
};

/** Tiles that are timed besides when a model is loaded. */
const timed: Readonly<Record<Arithmetic, readonly Tile[]>> = {
  f32: [[8, 8, 16]],
  f16: [
    [8, 8, 32],
    [8, 8, 32, [8, 16]],
  ],
  i8: [
    [8, 8, 64],
    [8, 8, 64, [16, 8]],
    [8, 8, 64, [8, 16]],
    [8, 4, 128],
  ],
};

/** Tiles that a sweep times besides those. */
const swept: Readonly<Record<Arithmetic, readonly Tile[]>> = {
  f32: [
    [8, 8, 8],
    [8, 8, 16, [8, 16]],
    [8, 4, 32],
  ],
  f16: [
    [8, 8, 32, [16, 8]],
    [8, 8, 64, [8, 16]],
    [8, 4, 64],
    [16, 4, 32, [8, 16]],
  ],
  i8: [
    [8, 4, 64, [16, 8]],
    [8, 8, 128, [16, 8]],
    [8, 8, 32],
    [8, 4, 32],
    [4, 8, 64],
  ],
};

/** The cuts of tiles; half as deep where slices would not be whole. */
function cutsOf(tiles: readonly Tile[], { slots, arithmetic }: Omit<TileQuestion, 'device'>): readonly MatmulCut[] {
  return tiles.map(([rows, weights, depth, sides]) => {
    const cut: MatmulCut = {
      rows,
      outputs: Math.max(1, weights / matricesOf(slots)),
      depth,
      ...(arithmetic === 'f32' ? {} : { arithmetic }),
      ...(sides ? { sides: { down: sides[0], across: sides[1] } } : {}),
    };
    return arithmetic === 'f32' || isBlocksCut(slots, cut) ? cut : { ...cut, depth: 32 };
  });
}

/** The arithmetic of the kernel of prefill: f16 and i8 have one that reads whole blocks. */
const tileArithmetic = (slots: LinearSlots, arithmetic: Arithmetic): Arithmetic =>
  walksBlocks(slots) ? arithmetic : 'f32';

/** Whether a device can have a tile, and whether it is not mostly rows that are not there. */
function fits({ device, slots }: Omit<TileQuestion, 'arithmetic'>, cut: MatmulCut): boolean {
  const constants = { slots, cut };
  const memory = cut.arithmetic === undefined ? matmulMemoryBytes(constants) : blocksMemoryBytes(constants);
  const { memoryBytes, invocations = portable.invocations } = device;
  return (
    memory <= Math.max(memoryBytes, portable.memoryBytes) &&
    matmulLanes(cut) <= invocations &&
    matmulTile(cut).rows < 2 * slots.rows &&
    matmulWorkgroups(slots, cut) >= busyTiles / 4
  );
}

/** The table's tiles for these slots, and which of them is the largest that keeps hardware busy. */
function tableCuts(question: Omit<TileQuestion, 'device'>) {
  const cuts = cutsOf(own[question.arithmetic], question);
  const busy = cuts.findIndex((cut) => matmulWorkgroups(question.slots, cut) >= busyTiles);
  return { cuts, place: busy < 0 ? cuts.length - 1 : busy };
}

/**
 * Tiles worth timing, the default first, those of matrix units last.
 * @param options.every - Those of a sweep too, which are too many to be timed when a model is loaded.
 */
export function tileCandidates(question: TileQuestion, { every = false } = {}): readonly TileCut[] {
  const { device, slots } = question;
  const arithmetic = tileArithmetic(slots, question.arithmetic);
  const asked = { slots, arithmetic };
  const table = tableCuts(asked);
  // Where larger tiles keep the device busy, the smallest are not worth the time.
  const near = every ? table.cuts : table.cuts.slice(0, table.place + 2);
  const tiles = [...timed[arithmetic], ...(every ? swept[arithmetic] : [])];
  const others = [...near, ...cutsOf(tiles, asked)].filter((cut) => fits(question, cut));
  const cuts = [table.cuts[table.place]!, ...others, ...matrixCandidates(device, slots, question.arithmetic)];
  return [...new Map(cuts.map((cut) => [JSON.stringify(cut), cut])).values()];
}

/** A tile in words; different tiles of one matrix have different ones. */
export function tileText(cut: TileCut): string {
  if ('matrix' in cut) {
    const { matrix, subgroups, results, depth } = cut;
    const shape = `${matrix.M} x ${matrix.N} x ${matrix.K} ${matrix.component} to ${matrix.result}`;
    return `matrices of ${shape}, ${results.down} x ${results.across} a subgroup, ${subgroups.down} x ${subgroups.across} subgroups, ${depth} deep`;
  }
  const { rows, outputs, depth, arithmetic = 'f32' } = cut;
  const { down, across } = matmulSides(cut);
  return `tiles of ${rows} x ${outputs} a lane, ${down} x ${across} lanes, ${depth} deep, ${arithmetic}`;
}

/**
 * How the prefill kernel cuts these slots where nothing is measured.
 * @param slots - Of more rows than the decode kernels take.
 */
export function tileCut(slots: LinearSlots, arithmetic: Arithmetic): MatmulCut {
  const { cuts, place } = tableCuts({ slots, arithmetic: tileArithmetic(slots, arithmetic) });
  return cuts[place]!;
}
