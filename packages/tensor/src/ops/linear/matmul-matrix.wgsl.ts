/**
 * The kernel of prefill on matrix units: tiles as in `matmul.wgsl.ts`, multiplied as subgroup matrices
 * (see `device/subgroup-matrix.ts`). Rows of `x` and decoded weights are rounded to the matrices' components on their way into
 * workgroup memory. Where results are f16 alone, their sums over a stretch of K are added up in f32.
 */
import type { MatrixConfig } from '../../device/subgroup-matrix.ts';
import { defineKernel } from '../../kernel/define-kernel.ts';
import { weightReader } from '../../wgsl/weight-reader.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linearBindings, linearUniforms, matricesOf, slotFunctions, slotsName } from './linear-slots.ts';
import type { Sides, TileSize } from './tile-walk.ts';
import { tilePlaceWgsl, tileWalkWgsl, tileWorkgroups } from './tile-walk.ts';

/** How the work of a {@link matmulMatrixKernel} is cut. */
export interface MatrixCut {
  readonly matrix: MatrixConfig;
  /** Lanes of the largest subgroup. Where subgroups are smaller there are more of them, and those past `subgroups` multiply nothing. */
  readonly lanes: number;
  /** Subgroups of a workgroup. */
  readonly subgroups: Sides;
  /** Results that a subgroup holds; of each matrix when gated. */
  readonly results: Sides;
  /** Values along K of a slice, a multiple of 8 and of the matrices' K. */
  readonly depth: number;
}

/** Compile-time constants of a {@link matmulMatrixKernel}. */
export interface MatrixConstants {
  readonly slots: LinearSlots;
  readonly cut: MatrixCut;
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** The tile of a workgroup. */
const matrixTile = ({ matrix, subgroups, results }: MatrixCut): TileSize => ({
  rows: matrix.M * results.down * subgroups.down,
  outputs: matrix.N * results.across * subgroups.across,
});

/** Number of workgroups of the kernel. */
export function matrixWorkgroups(slots: LinearSlots, cut: MatrixCut): number {
  return tileWorkgroups(slots, matrixTile(cut));
}

/** Values along K of which sums may be f16. */
const halfStretch = 64;

const componentBytes = { f16: 2, f32: 4 } as const;

interface Sizes {
  readonly tile: TileSize;
  /** Subgroups that multiply. */
  readonly subgroups: number;
  readonly invocations: number;
  /** Quads from one row of a slice to the next: 16 bytes more than the row, so that rows begin on different banks. */
  readonly pitch: number;
  /** Elements of one result, and of those that all subgroups store at once. */
  readonly elements: number;
  readonly stored: number;
}

function sizesOf({ slots, cut }: MatrixConstants): Sizes {
  const { matrix, lanes, depth } = cut;
  const subgroups = cut.subgroups.down * cut.subgroups.across;
  const elements = matrix.M * matrix.N;
  return {
    tile: matrixTile(cut),
    subgroups,
    invocations: subgroups * lanes,
    pitch: depth / 4 + 4 / componentBytes[matrix.component],
    elements,
    stored: subgroups * elements * matricesOf(slots),
  };
}

/** Invocations of a workgroup. */
export const matrixInvocations = (constants: MatrixConstants): number => sizesOf(constants).invocations;

/** Bytes of workgroup memory of the kernel. */
export function matrixMemoryBytes(constants: MatrixConstants): number {
  const { tile, pitch, stored } = sizesOf(constants);
  const { component, result } = constants.cut.matrix;
  const rows = tile.rows + tile.outputs * matricesOf(constants.slots);
  return rows * pitch * 4 * componentBytes[component] + stored * componentBytes[result];
}

/** Whether the kernel can be had for a config: rows of matrices begin at multiples of 16 bytes. */
export const isMatrixConfig = ({ component, result, N, K }: MatrixConfig): boolean =>
  K % 8 === 0 && (N * componentBytes[result]) % 16 === 0 && (component === 'f16' || result === 'f32');

function multiplyWgsl({ slots, cut }: MatrixConstants, { tile, subgroups, pitch }: Sizes): string {
  const { matrix, results, depth } = cut;
  const { component, M, N, K } = matrix;
  const matrices = range(matricesOf(slots));
  const left = `subgroupMatrixLoad<subgroup_matrix_left<${component}, ${K}, ${M}>, row_major>`;
  const right = `subgroupMatrixLoad<subgroup_matrix_right<${component}, ${N}, ${K}>, col_major>`;
  const at = (first: string, row: number) => `(${first} + ${row}u) * ${pitch}u + k * ${K / 4}u`;
  const rows = range(results.down).map((m) => `let left${m} = ${left}(&xs, ${at('firstLeft', m * M)}, ${pitch}u);`);
  const outputs = matrices.flatMap((i) =>
    range(results.across).map((n) => {
      const loaded = `let right = ${right}(&ws, ${at('firstRight', i * tile.outputs + n * N)}, ${pitch}u);`;
      const products = range(results.down).map(
        (m) => `sum${i}_${m}_${n} = subgroupMatrixMultiplyAccumulate(left${m}, right, sum${i}_${m}_${n});`,
      );
      return `{ ${loaded}\n        ${products.join('\n        ')} }`;
    }),
  );
  return `if (subgroup < ${subgroups}u) {
      for (var k = 0u; k < ${depth / K}u; k++) {
        ${[...rows, ...outputs].join('\n        ')}
      }
    }`;
}

/** Puts one result of every subgroup into workgroup memory, and gives the lanes' elements of it to `take`. */
function elementsWgsl(
  { slots, cut }: MatrixConstants,
  sizes: Sizes,
  take: (at: { m: number; n: number; e: number }, values: readonly string[]) => string,
): string {
  const { matrix, results } = cut;
  const { elements, invocations, subgroups, stored } = sizes;
  const matrices = range(matricesOf(slots));
  const each = stored / matrices.length;
  const store = (m: number, n: number) =>
    matrices.map(
      (i) =>
        `subgroupMatrixStore<row_major>(&stored, ${i * each}u + subgroup * ${elements}u, sum${i}_${m}_${n}, ${matrix.N}u);`,
    );
  const taken = (m: number, n: number) =>
    range(Math.ceil(each / invocations)).map((e) => {
      const element = `local + ${e * invocations}u`;
      const values = matrices.map((i) => `f32(stored[${element} + ${i * each}u])`);
      const text = take({ m, n, e }, values);
      return (e + 1) * invocations <= each ? text : `if (${element} < ${each}u) { ${text} }`;
    });
  return range(results.down)
    .flatMap((m) =>
      range(results.across).map(
        (n) => `workgroupBarrier();
    if (subgroup < ${subgroups}u) { ${store(m, n).join(' ')} }
    workgroupBarrier();
    ${taken(m, n).join('\n    ')}`,
      ),
    )
    .join('\n    ');
}

/** Hands an element to `finish`: which subgroup's it is follows from its place. */
function finishWgsl({ slots, cut }: MatrixConstants, { elements, invocations }: Sizes) {
  const { matrix, subgroups, results } = cut;
  const { M, N } = matrix;
  return ({ m, n, e }: { m: number; n: number; e: number }, values: readonly string[]) => {
    const sums = values.length === 1 ? values[0]! : `vec2<f32>(${values.join(', ')})`;
    return `{
      let element = local + ${e * invocations}u;
      let holder = element / ${elements}u;
      let row = firstRow + (holder / ${subgroups.across}u) * ${M * results.down}u + ${m * M}u + (element % ${elements}u) / ${N}u;
      let output = firstOutput + (holder % ${subgroups.across}u) * ${N * results.across}u + ${n * N}u + element % ${N}u;
      if (row < u.rows && output < ${slots.outputs}u) { finish(row, output, ${sums}, 0.0); }
    }`;
  };
}

function body(constants: MatrixConstants): string {
  const { slots, cut } = constants;
  const { matrix, subgroups, results, depth } = cut;
  const sizes = sizesOf(constants);
  const matrices = range(matricesOf(slots));
  const type = `subgroup_matrix_result<${matrix.result}, ${matrix.N}, ${matrix.M}>`;
  const sums = matrices.flatMap((i) =>
    range(results.down).flatMap((m) => range(results.across).map((n) => `sum${i}_${m}_${n}`)),
  );
  const multiply = multiplyWgsl(constants, sizes);
  const walk = {
    slots,
    tile: sizes.tile,
    depth,
    lanes: sizes.invocations,
    place: (_array: 'xs' | 'ws', { quad, row }: { quad: string; row: string }) => `${row} * ${sizes.pitch}u + ${quad}`,
    pack: (quad: string) => (matrix.component === 'f16' ? `vec4<f16>(${quad})` : quad),
  };
  const finish = finishWgsl(constants, sizes);
  const place = `${tilePlaceWgsl(slots, sizes.tile)}
  let firstLeft = (subgroup / ${subgroups.across}u) * ${matrix.M * results.down}u;
  let firstRight = (subgroup % ${subgroups.across}u) * ${matrix.N * results.across}u;
  ${sums.map((name) => `var ${name} = ${type}();`).join(' ')}`;
  if (matrix.result === 'f32') {
    return `${place}
  ${tileWalkWgsl(walk, multiply)}
  ${elementsWgsl(constants, sizes, finish)}`;
  }
  const total = ({ m, n, e }: { m: number; n: number; e: number }, i: number) => `total${i}_${m}_${n}_${e}`;
  const places = range(results.down).flatMap((m) =>
    range(results.across).flatMap((n) =>
      range(Math.ceil(sizes.stored / matrices.length / sizes.invocations)).map((e) => ({ m, n, e })),
    ),
  );
  const add = elementsWgsl(constants, sizes, (at, values) =>
    values.map((value, i) => `${total(at, i)} += ${value};`).join(' '),
  );
  const whole = sizes.stored / matrices.length;
  const finished = places.map((at) => {
    const text = finish(
      at,
      matrices.map((i) => total(at, i)),
    );
    return (at.e + 1) * sizes.invocations <= whole
      ? text
      : `if (local + ${at.e * sizes.invocations}u < ${whole}u) ${text}`;
  });
  return `${place}
  ${places.flatMap((at) => matrices.map((i) => `var ${total(at, i)} = 0.0;`)).join(' ')}
  var summed = 0u;
  ${tileWalkWgsl(
    walk,
    `${multiply}
    summed += ${depth}u;
    if (summed >= ${halfStretch}u || slice >= ${weightReader(slots.format, slots.width).units}u) {
    summed = 0u;
    ${add}
    ${sums.map((name) => `${name} = ${type}();`).join(' ')}
    }`,
  )}
  ${finished.join('\n  ')}`;
}

/** The tiled kernel on matrix units; a norm must have been done before. */
export function matmulMatrixKernel(slots: LinearSlots, { matrix }: MatrixCut) {
  const half = matrix.component === 'f16' || matrix.result === 'f16';
  return defineKernel({
    name: `matrix-${matrix.component}-${matrix.result}-matmul-${slotsName(slots)}`,
    bindings: linearBindings(slots),
    uniforms: linearUniforms,
    features: ['subgroups', 'chromium-experimental-subgroup-matrix', ...(half ? (['shader-f16'] as const) : [])],
    wgsl: (constants: MatrixConstants) => {
      const { slots: s, cut } = constants;
      const { tile, pitch, stored, invocations } = sizesOf(constants);
      return /* wgsl */ `
${slotFunctions(s, { padded: true })}
var<workgroup> xs: array<vec4<${cut.matrix.component}>, ${tile.rows * pitch}>;
var<workgroup> ws: array<vec4<${cut.matrix.component}>, ${tile.outputs * matricesOf(s) * pitch}>;
var<workgroup> stored: array<${cut.matrix.result}, ${stored}>;
@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) local: u32, @builtin(subgroup_id) subgroup: u32) {
  ${body(constants)}
}`;
    },
  });
}
