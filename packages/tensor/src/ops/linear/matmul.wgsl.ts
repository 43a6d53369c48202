/**
 * Many rows at once: the kernel of prefill. A workgroup of 16 by 16 lanes computes a tile of `y`; slices of `x` and of the weight,
 * already decoded, pass through workgroup memory, and each lane keeps its share of the tile in registers. A slice is a number of
 * units of the weight's format, so that every format is read as its reader likes.
 */
import { defineKernel } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { weightReader } from '../../wgsl/weight-reader.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linearBindings, linearUniforms, matricesOf, slotFunctions, slotsName } from './linear-slots.ts';

/** Lanes of a workgroup along each side of its tile. */
const side = 16;
const lanes = side * side;

/** How the work of a {@link matmulKernel} is cut. */
export interface MatmulCut {
  /** Rows of `x` that a lane has in its part of the tile; the tile has 16 times as many. */
  readonly rows: number;
  /** Outputs that a lane has; twice as many rows of the weight are read when gated. */
  readonly outputs: number;
  /** Values along K of a slice, a multiple of 8. */
  readonly depth: number;
}

export interface MatmulConstants {
  readonly slots: LinearSlots;
  readonly cut: MatmulCut;
}

/** Number of workgroups of the kernel. */
export function matmulWorkgroups(slots: LinearSlots, cut: MatmulCut): number {
  return Math.ceil(slots.rows / (side * cut.rows)) * Math.ceil(slots.outputs / (side * cut.outputs));
}

/** Quads of a slice's row lie this far apart; the two more keep lanes that store together on different banks. */
const pitch = (rows: number) => side * rows + 2;

/** Bytes of workgroup memory of the kernel. */
export function matmulMemoryBytes({ slots, cut }: MatmulConstants): number {
  return (cut.depth / 4) * (pitch(cut.rows) + pitch(cut.outputs * matricesOf(slots))) * 16;
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Stores a slice: `count` rows, each `units` units; neighbouring lanes take neighbouring units of a row. */
function stage(name: string, { count, units, body }: { count: number; units: number; body: string }): string {
  return /* wgsl */ `
    for (var item = local; item < ${count * units}u; item += ${lanes}u) {
      let ${name} = item / ${units}u;
      let place = item % ${units}u;
      let unit = slice + place;
      ${body}
    }`;
}

function body({ slots, cut }: MatmulConstants): string {
  const reader = weightReader(slots.format, slots.width);
  const units = cut.depth / 4 / reader.quads;
  const [quads, rows, outputs, matrices] = [range(reader.quads), range(cut.rows), range(cut.outputs), range(matricesOf(slots))];
  const outputTiles = Math.ceil(slots.outputs / (side * cut.outputs));
  const [xPitch, wPitch] = [pitch(cut.rows), pitch(cut.outputs * matrices.length)];
  const scale = reader.scaled ? ' * weightScale(source, unit)' : '';
  const loadX = quads
    .map((q) => `xs[(place * ${reader.quads}u + ${q}u) * ${xPitch}u + m] = xQuad(min(firstRow + m, u.rows - 1u), ${reader.position('unit', q)});`)
    .join('\n      ');
  const loadW = `let matrix = n / ${side * cut.outputs}u;
      let source = min(firstOutput + n % ${side * cut.outputs}u, ${slots.outputs - 1}u) + matrix * ${slots.outputs}u + ${slots.rowOffset}u;
      let bits = weightBits(source, min(unit, ${reader.units - 1}u));
      ${quads.map((q) => `ws[(place * ${reader.quads}u + ${q}u) * ${wPitch}u + n] = weightQuad${q}(bits)${scale};`).join('\n      ')}`;
  const sums = matrices.flatMap((i) => outputs.flatMap((n) => rows.map((m) => `sum${i}_${n}_${m}`)));
  const multiply = matrices.flatMap((i) =>
    outputs.flatMap((n) => [
      `let w${i}_${n} = ws[quad * ${wPitch}u + across + ${(i * cut.outputs + n) * side}u];`,
      ...rows.flatMap((m) => [...'xyzw'].map((c) => `sum${i}_${n}_${m} = fma(w${i}_${n}.${c}, x${m}.${c}, sum${i}_${n}_${m});`)),
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
  return /* wgsl */ `
  let tile = ${linearWorkgroupWgsl};
  let rowTiles = (u.rows + ${side * cut.rows - 1}u) / ${side * cut.rows}u;
  if (tile >= rowTiles * ${outputTiles}u) { return; }
  let firstRow = (tile % rowTiles) * ${side * cut.rows}u;
  let firstOutput = (tile / rowTiles) * ${side * cut.outputs}u;
  let across = local % ${side}u;
  let down = local / ${side}u;
  ${sums.map((name) => `var ${name} = 0.0;`).join(' ')}
  for (var slice = 0u; slice < ${reader.units}u; slice += ${units}u) {
    workgroupBarrier();
    ${stage('m', { count: side * cut.rows, units, body: loadX })}
    ${stage('n', { count: side * cut.outputs * matrices.length, units, body: loadW })}
    workgroupBarrier();
    for (var quad = 0u; quad < ${cut.depth / 4}u; quad++) {
      ${rows.map((m) => `let x${m} = xs[quad * ${xPitch}u + down + ${m * side}u];`).join('\n      ')}
      ${multiply.join('\n      ')}
    }
  }
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
