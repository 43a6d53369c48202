import type { Arithmetic } from '../../compile/lowering.ts';
import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import type { LinearNorm } from './linear-slots.ts';
import {
  blockPieces,
  pieceType,
  rowBlockCount,
  squaresFunctions,
  stageFunction,
  stageWorkgroup,
} from './stage-rows.wgsl.ts';

export interface PrepareRowsConstants {
  readonly arithmetic: Arithmetic;
  /** Lanes along K of the matrix kernel that follows. */
  readonly lanes: number;
  readonly width: number;
  readonly norm: LinearNorm | undefined;
}

/** Blocks of each lane: a row has `tiles * lanes` places for blocks. */
export const rowTiles = (width: number, lanes: number): number => Math.ceil(rowBlockCount(width) / lanes);

/** Bytes of a prepared row: its pieces, and its steps with its sum of squares (i8) or its sum of squares. */
export function preparedRowBytes({ arithmetic, lanes, width, norm }: PrepareRowsConstants) {
  const places = rowTiles(width, lanes) * lanes;
  return {
    pieces: places * blockPieces[arithmetic] * 16,
    scales: arithmetic === 'i8' ? (places + 1) * 8 : 0,
    squares: norm && arithmetic !== 'i8' ? 4 : 0,
  };
}

/**
 * `pieces[m] = x[m] * (gain + offset)` in the precision of `arithmetic` and the order in which the matrix kernel reads it, and the sum of
 * squares of each row where there is a norm: for several rows it is cheaper to do it once than in every workgroup. For i8, each block
 * of 32 values is `step * code` with `step = max |value| / 127`. One workgroup a row.
 */
export function prepareRowsKernel({ arithmetic, norm }: PrepareRowsConstants) {
  const bindings: Record<string, Binding> = {
    x: read('vec4<f32>'),
    ...(norm?.gainRow === undefined ? {} : { gain: read('vec4<f32>') }),
    pieces: write(pieceType[arithmetic]),
    ...(arithmetic === 'i8' ? { rowScales: write('vec2<u32>') } : norm ? { squares: write('f32') } : {}),
  };
  return defineKernel({
    name: `prepare-rows-${arithmetic}${norm ? '-norm' : ''}`,
    bindings,
    features: arithmetic === 'f16' ? ['shader-f16'] : [],
    wgsl: (c: PrepareRowsConstants) => prepareRowsWgsl(c),
  });
}

function prepareRowsWgsl(c: PrepareRowsConstants): string {
  const { arithmetic, lanes, width, norm } = c;
  const tiles = rowTiles(width, lanes);
  const pieces = blockPieces[arithmetic];
  const places = tiles * lanes + 1;
  const total =
    arithmetic === 'i8'
      ? `rowScales[row * ${places}u + ${places - 1}u] = vec2<u32>(bitcast<u32>(squareTotal(0u)), 0u);`
      : 'squares[row] = squareTotal(0u);';
  return /* wgsl */ `
fn put(row: u32, block: u32, piece: u32, value: ${pieceType[arithmetic]}) {
  pieces[((row * ${tiles}u + block / ${lanes}u) * ${pieces}u + piece) * ${lanes}u + block % ${lanes}u] = value;
}
${arithmetic === 'i8' ? `fn putScale(row: u32, block: u32, value: vec2<u32>) { rowScales[row * ${places}u + block] = value; }` : ''}
${stageFunction({ arithmetic, width, norm })}
${norm ? squaresFunctions(1) : ''}
@compute @workgroup_size(${stageWorkgroup})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let row = workgroup.x;
  let own = stageRow(row, row, 0u, ${rowBlockCount(width)}u, local, 0.0);
  ${norm ? `squareParts[local] = own;\n  addSquares(local);\n  if (local == 0u) { ${total} }` : ''}
}`;
}
