/**
 * Many rows at once: the kernel of prefill. A workgroup, mostly of 16 by 16 lanes, computes a tile of `y`; slices of `x` and of the weight,
 * already decoded, pass through workgroup memory, and each lane keeps its share of the tile in registers.
 */
import type { Arithmetic } from '../../compile/lowering.ts';
import { defineKernel } from '../../kernel/define-kernel.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linearBindings, linearUniforms, matricesOf, slotFunctions, slotsName } from './linear-slots.ts';
import type { Sides, TileSize } from './tile-walk.ts';
import { lanePlaceWgsl, tilePlaceWgsl, tileWalkWgsl, tileWorkgroups } from './tile-walk.ts';

/** How the work of a {@link matmulKernel} is cut. */
export interface MatmulCut {
  /** Rows of `x` that a lane has in its part of the tile. */
  readonly rows: number;
  /** Outputs that a lane has; twice as many rows of the weight are read when gated. */
  readonly outputs: number;
  /** Values along K of a slice, a multiple of 8. */
  readonly depth: number;
  /** f16 and i8 have a kernel of their own that reads whole blocks; f32 without. */
  readonly arithmetic?: Arithmetic;
  /** Lanes along each side of the tile, powers of two of at least 4 down and 8 across; 16 by 16 without. */
  readonly sides?: Sides;
}

export interface MatmulConstants {
  readonly slots: LinearSlots;
  readonly cut: MatmulCut;
}

/** Lanes of a workgroup along each side of its tile. */
export const matmulSides = ({ sides = { down: 16, across: 16 } }: MatmulCut): Sides => sides;

/** Lanes of a workgroup. */
export function matmulLanes(cut: MatmulCut): number {
  const { down, across } = matmulSides(cut);
  return down * across;
}

/** The tile of a workgroup. */
export function matmulTile(cut: MatmulCut): TileSize {
  const { down, across } = matmulSides(cut);
  return { rows: down * cut.rows, outputs: across * cut.outputs };
}

/** Number of workgroups of the kernel. */
export function matmulWorkgroups(slots: LinearSlots, cut: MatmulCut): number {
  return tileWorkgroups(slots, matmulTile(cut));
}

/** Quads of a slice's row lie this far apart; the two more keep lanes that store together on different banks. */
const pitch = (rows: number) => rows + 2;

/** Distances of quads in the two arrays of a workgroup. */
function pitches({ slots, cut }: MatmulConstants): { readonly xs: number; readonly ws: number } {
  const { rows, outputs } = matmulTile(cut);
  return { xs: pitch(rows), ws: pitch(outputs * matricesOf(slots)) };
}

/** Bytes of workgroup memory of the kernel. */
export function matmulMemoryBytes(constants: MatmulConstants): number {
  const { xs, ws } = pitches(constants);
  return (constants.cut.depth / 4) * (xs + ws) * 16;
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

function body(constants: MatmulConstants): string {
  const { slots, cut } = constants;
  const sides = matmulSides(cut);
  const [rows, outputs, matrices] = [range(cut.rows), range(cut.outputs), range(matricesOf(slots))];
  const pitchOf = pitches(constants);
  const sums = matrices.flatMap((i) => outputs.flatMap((n) => rows.map((m) => `sum${i}_${n}_${m}`)));
  const multiply = matrices.flatMap((i) =>
    outputs.flatMap((n) => [
      `let w${i}_${n} = ws[quad * ${pitchOf.ws}u + across + ${(i * cut.outputs + n) * sides.across}u];`,
      ...rows.flatMap((m) =>
        [...'xyzw'].map((c) => `sum${i}_${n}_${m} = fma(w${i}_${n}.${c}, row${m}.${c}, sum${i}_${n}_${m});`),
      ),
    ]),
  );
  const store = outputs.flatMap((n) =>
    rows.map((m) => {
      const made = slots.gate === undefined ? `sum0_${n}_${m}` : `vec2<f32>(sum0_${n}_${m}, sum1_${n}_${m})`;
      const [row, output] = [`firstRow + down + ${m * sides.down}u`, `firstOutput + across + ${n * sides.across}u`];
      return `if (${row} < u.rows && ${output} < ${slots.outputs}u) { finish(${row}, ${output}, ${made}, 0.0); }`;
    }),
  );
  const walk = {
    slots,
    tile: matmulTile(cut),
    depth: cut.depth,
    lanes: matmulLanes(cut),
    place: (array: 'xs' | 'ws', { quad, row }: { quad: string; row: string }) =>
      `${quad} * ${pitchOf[array]}u + ${row}`,
    pack: (quad: string) => quad,
  };
  return /* wgsl */ `${tilePlaceWgsl(slots, walk.tile)}
  ${lanePlaceWgsl(sides)}
  ${sums.map((name) => `var ${name} = 0.0;`).join(' ')}
  ${tileWalkWgsl(
    walk,
    `for (var quad = 0u; quad < ${cut.depth / 4}u; quad++) {
      ${rows.map((m) => `let row${m} = xs[quad * ${pitchOf.xs}u + down + ${m * sides.down}u];`).join('\n      ')}
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
      const { xs, ws } = pitches(constants);
      return /* wgsl */ `
${slotFunctions(s, { padded: true })}
var<workgroup> xs: array<vec4<f32>, ${(cut.depth / 4) * xs}>;
var<workgroup> ws: array<vec4<f32>, ${(cut.depth / 4) * ws}>;
@compute @workgroup_size(${matmulLanes(cut)})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  ${body(constants)}
}`;
    },
  });
}
