/**
 * What the kernels of prefill share: where a workgroup's tile of `y` lies, and how slices of `x` and of the weight, already decoded, pass
 * through workgroup memory. A slice is a number of units of the weight's format, so that every format is read as its reader likes.
 */
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { weightReader } from '../../wgsl/weight-reader.ts';
import type { LinearSlots } from './linear-slots.ts';
import { matricesOf } from './linear-slots.ts';

/** A number of something along the rows of `x`, and along the outputs. */
export interface Sides {
  readonly down: number;
  readonly across: number;
}

/** Rows of `x` and outputs of the tile of a workgroup. */
export interface TileSize {
  readonly rows: number;
  /** Of each matrix when gated. */
  readonly outputs: number;
}

/** Number of workgroups for tiles of a size. */
export function tileWorkgroups(slots: LinearSlots, tile: TileSize): number {
  return Math.ceil(slots.rows / tile.rows) * Math.ceil(slots.outputs / tile.outputs);
}

/** WGSL that finds `firstRow` and `firstOutput` of a workgroup's tile, and returns past the last. */
export function tilePlaceWgsl({ outputs }: LinearSlots, tile: TileSize): string {
  return /* wgsl */ `
  let tile = ${linearWorkgroupWgsl};
  let rowTiles = (u.rows + ${tile.rows - 1}u) / ${tile.rows}u;
  if (tile >= rowTiles * ${Math.ceil(outputs / tile.outputs)}u) { return; }
  let firstRow = (tile % rowTiles) * ${tile.rows}u;
  let firstOutput = (tile / rowTiles) * ${tile.outputs}u;`;
}

/**
 * WGSL of a lane's place, `down` and `across`, in the grid of a workgroup: sides are powers of two, of at least 4 and 8. Each 32 lanes lie 4
 * down and 8 across, and two neighbours read the same row of the weight, so that a load of 16 bytes a lane takes two turns of a workgroup
 * memory that gives 128 bytes to each 16 lanes, and not four.
 */
export function lanePlaceWgsl({ across }: Sides): string {
  return /* wgsl */ `
  let across = (local / 2u) % 8u + (local / 32u) % ${across / 8}u * 8u;
  let down = local % 2u + (local / 16u) % 2u * 2u + local / ${across * 4}u * 4u;`;
}

/** How a workgroup walks along K. */
export interface TileWalk {
  readonly slots: LinearSlots;
  readonly tile: TileSize;
  /** Values along K of a slice, a multiple of 8. */
  readonly depth: number;
  /** Invocations of the workgroup. */
  readonly lanes: number;
  /** WGSL index of a quad of a row of the slice, in the workgroup arrays `xs` (rows of `x`) and `ws` (of the weight). */
  readonly place: (array: 'xs' | 'ws', at: { readonly quad: string; readonly row: string }) => string;
  /** WGSL of a quad as the arrays hold it, from `vec4<f32>`. */
  readonly pack: (quad: string) => string;
}

/**
 * Moves a slice through registers: `fetch` loads a lane's units of it, `store` puts them into workgroup memory, so that the next slice
 * is on its way while this one is multiplied. Neighbouring lanes take neighbouring units of a row.
 */
interface Stage {
  readonly declare: string;
  readonly fetch: string;
  readonly store: string;
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

function stage(
  { count, units, lanes }: { readonly count: number; readonly units: number; readonly lanes: number },
  parts: (at: { i: number; row: string; place: string }) => Stage,
): Stage {
  const total = count * units;
  const staged = range(Math.ceil(total / lanes)).map((i) => {
    const item = `min(local + ${i * lanes}u, ${total - 1}u)`;
    const { declare, fetch, store } = parts({ i, row: `(${item} / ${units}u)`, place: `(${item} % ${units}u)` });
    const whole = (i + 1) * lanes <= total;
    return { declare, fetch, store: whole ? store : `if (local + ${i * lanes}u < ${total}u) { ${store} }` };
  });
  const joined = (part: keyof Stage) => staged.map((item) => item[part]).join('\n    ');
  return { declare: joined('declare'), fetch: joined('fetch'), store: joined('store') };
}

function stages({ slots, tile, depth, lanes, place: at, pack }: TileWalk): readonly [x: Stage, weight: Stage] {
  const reader = weightReader(slots.format, slots.width);
  const [quads, matrices] = [range(reader.quads), matricesOf(slots)];
  const units = depth / 4 / reader.quads;
  const put = (array: 'xs' | 'ws', { place, row, q }: { place: string; row: string; q: number }) =>
    `${array}[${at(array, { quad: `(${place} * ${reader.quads}u + ${q}u)`, row })}]`;
  const x = stage({ count: tile.rows, units, lanes }, ({ i, row, place }) => ({
    declare: quads.map((q) => `var x${i}_${q} = vec4<f32>(0.0);`).join(' '),
    fetch: quads
      .map(
        (q) => `x${i}_${q} = xQuad(min(firstRow + ${row}, u.rows - 1u), ${reader.position(`(slice + ${place})`, q)});`,
      )
      .join(' '),
    store: quads.map((q) => `${put('xs', { place, row, q })} = ${pack(`x${i}_${q}`)};`).join(' '),
  }));
  const weight = stage({ count: tile.outputs * matrices, units, lanes }, ({ i, row, place }) => ({
    declare: `var bits${i}: ${reader.bitsType}; ${reader.scaled ? `var scale${i}: f32;` : ''}`,
    fetch: `{
      let source = min(firstOutput + ${row} % ${tile.outputs}u, ${slots.outputs - 1}u) + ${row} / ${tile.outputs}u * ${slots.outputs}u + ${slots.rowOffset}u;
      let unit = min(slice + ${place}, ${reader.units - 1}u);
      bits${i} = weightBits(source, unit); ${reader.scaled ? `scale${i} = weightScale(source, unit);` : ''}
    }`,
    store: quads
      .map((q) => {
        const value = `weightQuad${q}(bits${i})${reader.scaled ? ` * scale${i}` : ''}`;
        return `${put('ws', { place, row, q })} = ${pack(value)};`;
      })
      .join(' '),
  }));
  return [x, weight];
}

/**
 * WGSL of the walk: `multiply` runs for every slice, with the slice in `xs` and `ws`, and `slice` the unit that follows it. Past K `xs`
 * holds zeros. It declares names of its own and is in uniform control flow, `multiply` too.
 */
export function tileWalkWgsl(walk: TileWalk, multiply: string): string {
  const reader = weightReader(walk.slots.format, walk.slots.width);
  const [x, weight] = stages(walk);
  return /* wgsl */ `
  ${x.declare}
  ${weight.declare}
  var slice = 0u;
  {
    ${x.fetch}
    ${weight.fetch}
  }
  while (slice < ${reader.units}u) {
    workgroupBarrier();
    ${x.store}
    ${weight.store}
    workgroupBarrier();
    slice += ${walk.depth / 4 / reader.quads}u;
    if (slice < ${reader.units}u) {
    ${x.fetch}
    ${weight.fetch}
    }
    ${multiply}
  }`;
}
