/**
 * Many rows at once: the kernel of prefill. A workgroup of 16 by 16 lanes computes a tile of `y`; slices of `x` and of the weight,
 * already decoded, pass through workgroup memory, and each lane keeps its share of the tile in registers. A slice is a number of
 * units of the weight's format, so that every format is read as its reader likes.
 */
import type { Arithmetic } from '../../compile/lowering.ts';
import { defineKernel } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { weightReader } from '../../wgsl/weight-reader.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linearBindings, linearUniforms, matricesOf, slotFunctions, slotsName } from './linear-slots.ts';

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

/**
 * Moves a slice through registers: `fetch` loads a lane's units of it, `store` puts them into workgroup memory, so that the next slice
 * is on its way while this one is multiplied. Neighbouring lanes take neighbouring units of a row.
 */
interface Stage {
  readonly declare: string;
  readonly fetch: string;
  readonly store: string;
}

function stage(count: number, units: number, parts: (at: { i: number; row: string; place: string }) => Stage): Stage {
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

function stages({ slots, cut }: MatmulConstants): readonly [x: Stage, weight: Stage] {
  const reader = weightReader(slots.format, slots.width);
  const [quads, matrices] = [range(reader.quads), matricesOf(slots)];
  const units = cut.depth / 4 / reader.quads;
  const width = side * cut.outputs;
  const x = stage(side * cut.rows, units, ({ i, row, place }) => ({
    declare: quads.map((q) => `var x${i}_${q} = vec4<f32>(0.0);`).join(' '),
    fetch: quads
      .map(
        (q) => `x${i}_${q} = xQuad(min(firstRow + ${row}, u.rows - 1u), ${reader.position(`(slice + ${place})`, q)});`,
      )
      .join(' '),
    store: quads
      .map((q) => `xs[(${place} * ${reader.quads}u + ${q}u) * ${pitch(cut.rows)}u + ${row}] = x${i}_${q};`)
      .join(' '),
  }));
  const weight = stage(width * matrices, units, ({ i, row, place }) => ({
    declare: `var bits${i}: ${reader.bitsType}; ${reader.scaled ? `var scale${i}: f32;` : ''}`,
    fetch: `{
      let source = min(firstOutput + ${row} % ${width}u, ${slots.outputs - 1}u) + ${row} / ${width}u * ${slots.outputs}u + ${slots.rowOffset}u;
      let unit = min(slice + ${place}, ${reader.units - 1}u);
      bits${i} = weightBits(source, unit); ${reader.scaled ? `scale${i} = weightScale(source, unit);` : ''}
    }`,
    store: quads
      .map(
        (q) =>
          `ws[(${place} * ${reader.quads}u + ${q}u) * ${pitch(cut.outputs * matrices)}u + ${row}] = weightQuad${q}(bits${i})${reader.scaled ? ` * scale${i}` : ''};`,
      )
      .join(' '),
  }));
  return [x, weight];
}

function body({ slots, cut }: MatmulConstants): string {
  const reader = weightReader(slots.format, slots.width);
  const units = cut.depth / 4 / reader.quads;
  const [rows, outputs, matrices] = [range(cut.rows), range(cut.outputs), range(matricesOf(slots))];
  const outputTiles = Math.ceil(slots.outputs / (side * cut.outputs));
  const [xPitch, wPitch] = [pitch(cut.rows), pitch(cut.outputs * matrices.length)];
  const [x, weight] = stages({ slots, cut });
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
  return /* wgsl */ `
  let tile = ${linearWorkgroupWgsl};
  let rowTiles = (u.rows + ${side * cut.rows - 1}u) / ${side * cut.rows}u;
  if (tile >= rowTiles * ${outputTiles}u) { return; }
  let firstRow = (tile % rowTiles) * ${side * cut.rows}u;
  let firstOutput = (tile / rowTiles) * ${side * cut.outputs}u;
  let across = local % ${side}u;
  let down = local / ${side}u;
  ${sums.map((name) => `var ${name} = 0.0;`).join(' ')}
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
    slice += ${units}u;
    if (slice < ${reader.units}u) {
    ${x.fetch}
    ${weight.fetch}
    }
    for (var quad = 0u; quad < ${cut.depth / 4}u; quad++) {
      ${rows.map((m) => `let row${m} = xs[quad * ${xPitch}u + down + ${m * side}u];`).join('\n      ')}
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
