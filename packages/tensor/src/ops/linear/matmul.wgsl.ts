/**
 * Many rows at once: the kernel of prefill. A workgroup of 16 by 16 lanes computes a tile of `y`; slices of `x` and of the weight,
 * already decoded, pass through workgroup memory, and each lane keeps its share of the tile in registers.
 */
import type { Arithmetic } from '../../compile/lowering.ts';
import { defineKernel } from '../../kernel/define-kernel.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linearBindings, linearUniforms, matricesOf, slotFunctions, slotsName } from './linear-slots.ts';
import type { TileSize } from './tile-walk.ts';
import { tilePlaceWgsl, tileWalkWgsl, tileWorkgroups } from './tile-walk.ts';

/** Lanes of a workgroup along each side of its tile. */
export const matmulSide = 16;
/** Lanes of a workgroup. */
export const matmulLanes = matmulSide * matmulSide;
const [side, lanes] = [matmulSide, matmulLanes];

/** How the work of a {@link matmulKernel} is cut. */
export interface MatmulCut {
  /** Rows of `x` that a lane has in its part of the tile; the tile has 16 times as many. */
  readonly rows: number;
  /** Outputs that a lane has; twice as many rows of the weight are read when gated. */
  readonly outputs: number;
  /** Values along K of a slice, a multiple of 8. */
  readonly depth: number;
  /** f16 and i8 have a kernel of their own that reads whole blocks; f32 without. */
  readonly arithmetic?: Arithmetic;
}

export interface MatmulConstants {
  readonly slots: LinearSlots;
  readonly cut: MatmulCut;
}

/** The tile of a workgroup. */
export const matmulTile = (cut: MatmulCut): TileSize => ({ rows: side * cut.rows, outputs: side * cut.outputs });

/** Number of workgroups of the kernel. */
export function matmulWorkgroups(slots: LinearSlots, cut: MatmulCut): number {
  return tileWorkgroups(slots, matmulTile(cut));
}

/** Quads of a slice's row lie this far apart; the two more keep lanes that store together on different banks. */
const pitch = (rows: number) => side * rows + 2;

/** Bytes of workgroup memory of the kernel. */
export function matmulMemoryBytes({ slots, cut }: MatmulConstants): number {
  return (cut.depth / 4) * (pitch(cut.rows) + pitch(cut.outputs * matricesOf(slots))) * 16;
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

function body({ slots, cut }: MatmulConstants): string {
  const [rows, outputs, matrices] = [range(cut.rows), range(cut.outputs), range(matricesOf(slots))];
  const [xPitch, wPitch] = [pitch(cut.rows), pitch(cut.outputs * matrices.length)];
  const sums = matrices.flatMap((i) => outputs.flatMap((n) => rows.map((m) => `sum${i}_${n}_${m}`)));
  const multiply = matrices.flatMap((i) =>
    outputs.flatMap((n) => [
      `let w${i}_${n} = ws[quad * ${wPitch}u + across + ${(i * cut.outputs + n) * side}u];`,
      ...rows.flatMap((m) =>
        [...'xyzw'].map((c) => `sum${i}_${n}_${m} = fma(w${i}_${n}.${c}, row${m}.${c}, sum${i}_${n}_${m});`),
      ),
    ]),
  );
  const store = outputs.flatMap((n) =>
    rows.map((m) => {
      const made = slots.gate === undefined ? `sum0_${n}_${m}` : `vec2<f32>(sum0_${n}_${m}, sum1_${n}_${m})`;
      return `if (firstRow + down + ${m * side}u < u.rows && firstOutput + across + ${n * side}u < ${slots.outputs}u) {
    finish(firstRow + down + ${m * side}u, firstOutput + across + ${n * side}u, ${made}, 0.0);
  }`;
    }),
  );
  const pitches = { xs: xPitch, ws: wPitch };
  const walk = {
    slots,
    tile: matmulTile(cut),
    depth: cut.depth,
    lanes,
    place: (array: 'xs' | 'ws', { quad, row }: { quad: string; row: string }) =>
      `${quad} * ${pitches[array]}u + ${row}`,
    pack: (quad: string) => quad,
  };
  return /* wgsl */ `${tilePlaceWgsl(slots, walk.tile)}
  let across = local % ${side}u;
  let down = local / ${side}u;
  ${sums.map((name) => `var ${name} = 0.0;`).join(' ')}
  ${tileWalkWgsl(
    walk,
    `for (var quad = 0u; quad < ${cut.depth / 4}u; quad++) {
      ${rows.map((m) => `let row${m} = xs[quad * ${xPitch}u + down + ${m * side}u];`).join('\n      ')}
      ${multiply.join('\n      ')}
    }`,
  )}
  ${store.join('\n  ')}`;
}

/** The tiled kernel for these slots, f32 products and sums; a norm must have been done before. */
export function matmulKernel(slots: LinearSlots) {
  return defineKernel({
    name: `matmul-${slotsName(slots)}`,
    bindings: linearBindings(slots),
    uniforms: linearUniforms,
    wgsl: (constants: MatmulConstants) => {
      const { slots: s, cut } = constants;
      return /* wgsl */ `
${slotFunctions(s, { padded: true })}
var<workgroup> xs: array<vec4<f32>, ${(cut.depth / 4) * pitch(cut.rows)}>;
var<workgroup> ws: array<vec4<f32>, ${(cut.depth / 4) * pitch(cut.outputs * matricesOf(s))}>;
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  ${body(constants)}
}`;
    },
  });
}
