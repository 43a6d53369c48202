/**
 * Few rows at once: the kernel of decoding and of verifying. Lanes lie along K; each carries R rows of the weight and C rows of `x`.
 *
 * The order of every sum is fixed by the number of lanes alone: lane k takes units k, k + lanes, k + 2 lanes, … in that order, and
 * lane sums are added pairwise, neighbours first. R, C, the workgroup size and the units loaded ahead move work about and change no
 * bit of a row, so a row's result does not depend on how many rows are computed with it.
 */
import type { Arithmetic } from '../../compile/lowering.ts';
import type { KernelFeature } from '../../kernel/define-kernel.ts';
import { defineKernel } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { halfWeightReader } from '../../wgsl/half-weight-reader.ts';
import type { WeightReader } from '../../wgsl/weight-reader.ts';
import { weightReader } from '../../wgsl/weight-reader.ts';
import type { LinearSlots } from './linear-slots.ts';
import { keptQuadWgsl, rowUnit, tileWriter, tileWriterBytes } from './prepared-rows.wgsl.ts';
import {
  gainQuadWgsl,
  linearBindings,
  linearUniforms,
  matricesOf,
  slotFunctions,
  slotsName,
  sumsSquares,
} from './linear-slots.ts';

/** How the work of a {@link matvecKernel} is cut. Only `lanes` and `arithmetic` have a say in the bits. */
export interface MatvecCut {
  /** Lanes along K: a power of two, at most `workgroup`. 1 needs no barrier. */
  readonly lanes: number;
  /** R, rows of the weight that a lane carries (output rows; twice as many are read when gated). A power of two. */
  readonly outputs: number;
  /** C, rows of `x` that a lane carries. */
  readonly rows: number;
  /** Invocations of a workgroup. */
  readonly workgroup: number;
  /** Units of the weight loaded before the first is used. */
  readonly ahead: number;
  /** Whether lanes exchange sums by subgroup shuffles. */
  readonly subgroups: boolean;
  /** Of the products and sums of a unit; f32 without. f16 needs `shader-f16`. */
  readonly arithmetic?: Arithmetic;
  /** Lanes take whole blocks of the weight instead of words: another order of sums. */
  readonly blocks?: BlockCut;
}

/** How the rows of `x` reach the lanes of a kernel that walks whole blocks; without a say in the bits. */
export interface BlockCut {
  /** Blocks of each lane for which `x` is held in workgroup memory at a time; 0: `x` comes prepared by a kernel of its own. */
  readonly tiles: number;
  /** Whether the codes of the next blocks are loaded before those at hand are used, where rows come prepared and blocks come out even. */
  readonly next?: boolean;
}

/** How a kernel walks the weight: declares accumulators by {@link sumName} and leaves the lane's sums in them. */
export interface MatvecWalk {
  readonly functions: string;
  readonly loop: string;
  /** WGSL of the sum of squares of row m of the workgroup (a literal or the variable m), where the walk sums them itself. */
  readonly squares?: (m: string) => string;
}

export interface MatvecConstants {
  readonly slots: LinearSlots;
  readonly cut: MatvecCut;
}

/** Outputs that a workgroup makes. */
export function outputsPerWorkgroup({ workgroup, lanes, outputs }: MatvecCut): number {
  return (workgroup / lanes) * outputs;
}

/** Number of workgroups of the kernel. */
export function matvecWorkgroups(slots: LinearSlots, cut: MatvecCut): number {
  return Math.ceil(slots.rows / cut.rows) * Math.ceil(slots.outputs / outputsPerWorkgroup(cut));
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Sum of `items` by neighbours: ((0 + 1) + (2 + 3)) + … */
function pairwise(items: readonly string[]): string {
  if (items.length === 1) return items[0]!;
  return pairwise(range(items.length / 2).map((i) => `(${items[2 * i]} + ${items[2 * i + 1]})`));
}

/** Name of the accumulator of weight row r of a matrix, for row m of `x`. */
export const sumName = (matrix: number, r: number, m: number) => `sum${matrix}_${r}_${m}`;

/** The product of one unit of the weight with row m of `x`, added to accumulator `sum`: each value in its turn, in f32. */
function unitProduct({ quads, scaled }: WeightReader, m: number, sum: string, scale: string): string[] {
  const into = scaled ? `part${m}` : sum;
  const terms = range(quads).flatMap((q) => [...'xyzw'].map((c) => [`w${q}.${c}`, `x${q}_${m}.${c}`] as const));
  return [
    ...(scaled ? [`var part${m} = 0.0;`] : []),
    ...terms.map(([w, x]) => `${into} = fma(${w}, ${x}, ${into});`),
    ...(scaled ? [`${sum} = fma(${into}, ${scale}, ${sum});`] : []),
  ];
}

/** The same with products and the sum of the unit in f16, two at a time. */
function unitProductF16({ quads, scaled }: WeightReader, m: number, sum: string, scale: string): string[] {
  const pairs = range(quads).flatMap((q) => ['xy', 'zw'].map((c) => [`w${q}.${c}`, `x${q}_${m}.${c}`] as const));
  const [[firstWeight, firstX], ...rest] = pairs as [(typeof pairs)[0], ...typeof pairs];
  return [
    `var pair${m} = ${firstWeight} * ${firstX};`,
    ...rest.map(([w, x]) => `pair${m} = fma(${w}, ${x}, pair${m});`),
    scaled
      ? `${sum} = fma(f32(pair${m}.x + pair${m}.y), ${scale}, ${sum});`
      : `${sum} += f32(pair${m}.x + pair${m}.y);`,
  ];
}

/** What differs between the arithmetics: the functions and types of decoded values, and the product of a unit. */
function arithmeticOf({ slots, cut }: MatvecConstants) {
  const half = cut.arithmetic === 'f16' ? halfWeightReader(slots.format) : undefined;
  return half
    ? {
        functions: half.functions,
        quad: 'halfQuad',
        cast: (value: string) => `vec4<f16>(${value})`,
        factor: half.factor === 1 ? '' : ` * ${half.factor.toFixed(1)}`,
        product: unitProductF16,
      }
    : { functions: '', quad: 'weightQuad', cast: (value: string) => value, factor: '', product: unitProduct };
}

/** Declares accumulators and walks the lane's units. */
function matvecLoop({ slots, cut }: MatvecConstants): string {
  const reader = weightReader(slots.format, slots.width);
  const arithmetic = arithmeticOf({ slots, cut });
  const [matrices, outputs, rows, quads] = [
    range(matricesOf(slots)),
    range(cut.outputs),
    range(cut.rows),
    range(reader.quads),
  ];
  const aheads = range(reader.units % (cut.lanes * cut.ahead) === 0 ? cut.ahead : 1);
  const normed = sumsSquares(slots);
  const lines: string[] = [];
  const last = slots.outputs - 1;
  for (const m of rows) {
    lines.push(`let row${m} = min(firstRow + ${m}u, u.rows - 1u);`);
    if (normed) lines.push(`var squares${m} = 0.0;`);
  }
  for (const matrix of matrices) {
    for (const r of outputs) {
      lines.push(
        `let weight${matrix}_${r} = min(firstOutput + ${r}u, ${last}u) + ${slots.rowOffset + matrix * slots.outputs}u;`,
      );
      for (const m of rows) lines.push(`var ${sumName(matrix, r, m)} = 0.0;`);
    }
  }
  lines.push(`for (var first = lane; first < ${reader.units}u; first += ${cut.lanes * aheads.length}u) {`);
  for (const a of aheads) {
    lines.push(`  let unit${a} = first + ${a * cut.lanes}u;`);
    for (const matrix of matrices) {
      for (const r of outputs) {
        lines.push(`  let bits${a}_${matrix}_${r} = weightBits(weight${matrix}_${r}, unit${a});`);
        if (reader.scaled)
          lines.push(
            `  let scale${a}_${matrix}_${r} = weightScale(weight${matrix}_${r}, unit${a})${arithmetic.factor};`,
          );
      }
    }
  }
  for (const a of aheads) {
    lines.push('  {');
    for (const q of quads) {
      lines.push(`    let k${q} = ${reader.position(`unit${a}`, q)};`);
      if (normed) lines.push(`    let gain${q} = ${gainQuadWgsl(slots.norm!, `k${q}`)};`);
      for (const m of rows) {
        if (!normed) {
          lines.push(`    let x${q}_${m} = ${arithmetic.cast(`xQuad(row${m}, k${q})`)};`);
          continue;
        }
        const scaled = arithmetic.cast(`raw${q}_${m} * gain${q}`);
        lines.push(`    let raw${q}_${m} = xQuad(row${m}, k${q}); let x${q}_${m} = ${scaled};`);
        for (const c of 'xyzw') lines.push(`    squares${m} = fma(raw${q}_${m}.${c}, raw${q}_${m}.${c}, squares${m});`);
      }
    }
    for (const matrix of matrices) {
      for (const r of outputs) {
        lines.push('    {', ...quads.map((q) => `      let w${q} = ${arithmetic.quad}${q}(bits${a}_${matrix}_${r});`));
        for (const m of rows) {
          const product = arithmetic.product(reader, m, sumName(matrix, r, m), `scale${a}_${matrix}_${r}`);
          lines.push(...product.map((text) => `      ${text}`));
        }
        lines.push('    }');
      }
    }
    lines.push('  }');
  }
  lines.push('}');
  return lines.join('\n  ');
}

/** Which tile a workgroup takes; neighbouring workgroups share weights. */
export function matvecPlace({ slots, cut }: MatvecConstants): string {
  const outputTiles = Math.ceil(slots.outputs / outputsPerWorkgroup(cut));
  return /* wgsl */ `
  let tile = ${linearWorkgroupWgsl};
  let chunks = (u.rows + ${cut.rows - 1}u) / ${cut.rows}u;
  if (tile >= chunks * ${outputTiles}u) { return; }
  let lane = local % ${cut.lanes}u;
  let firstRow = (tile % chunks) * ${cut.rows}u;
  let firstOutput = ((tile / chunks) * ${cut.workgroup / cut.lanes}u + local / ${cut.lanes}u) * ${cut.outputs}u;`;
}

/** WGSL entry point line of a workgroup size. */
export const matvecEntry = (workgroup: number) => /* wgsl */ `
@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {`;

/** Whether each lane sums the squares of what it walks, for lanes to exchange as they do their sums. */
export const lanesSumSquares = ({ slots, cut }: MatvecConstants): boolean => sumsSquares(slots) && !cut.blocks;

/** The sum of squares of a row: what the walk found, what was prepared, or nothing. */
export function squaresOf({ slots, cut }: MatvecConstants, row: string, walked: string): string {
  if (!slots.norm) return '0.0';
  return slots.norm.prepared && !cut.blocks ? `squares[${row}]` : walked;
}

/** Bytes of workgroup memory that finished values take where they are to be written prepared, with what writes them. */
export function keptBytes({ slots: { written }, cut }: MatvecConstants): number {
  const values = cut.rows * outputsPerWorkgroup(cut);
  return written ? values * 4 + tileWriterBytes(written.form, values) : 0;
}

/** WGSL of the tail of a kernel that writes prepared rows: values meet in workgroup memory, and go on from there in units. */
export function keptWgsl(constants: MatvecConstants): { functions: string; tail: string } {
  const { slots, cut } = constants;
  if (!slots.written) return { functions: '', tail: '' };
  const { form } = slots.written;
  const outputs = outputsPerWorkgroup(cut);
  const units = outputs / rowUnit[form.arithmetic];
  return {
    functions: /* wgsl */ `
var<workgroup> kept: array<f32, ${cut.rows * outputs}>;
fn keep(row: u32, output: u32, value: f32) { kept[row % ${cut.rows}u * ${outputs}u + output % ${outputs}u] = value; }
${keptQuadWgsl}
${tileWriter(form, { rows: cut.rows, units, threads: cut.workgroup })}`,
    tail: `prepareTile(firstRow, u.rows, (tile / chunks) * ${units}u, local);`,
  };
}

/** Features of a kernel besides its arithmetic's and its exchange's: what it needs to write prepared rows. */
export const keptFeatures = ({ written }: LinearSlots): readonly KernelFeature[] =>
  written?.form.arithmetic === 'f16' ? ['shader-f16'] : [];

/** One lane a row: sums are finished where they were made. */
function finishAlone(constants: MatvecConstants, walk: MatvecWalk): string {
  const { slots, cut } = constants;
  const lines: string[] = [];
  for (const r of range(cut.outputs)) {
    for (const m of range(cut.rows)) {
      const sums = slots.gate === undefined ? sumName(0, r, m) : `vec2<f32>(${sumName(0, r, m)}, ${sumName(1, r, m)})`;
      lines.push(
        `if (firstOutput + ${r}u < ${slots.outputs}u && firstRow + ${m}u < u.rows) {
    finish(firstRow + ${m}u, firstOutput + ${r}u, ${sums}, ${squaresOf(constants, `firstRow + ${m}u`, walk.squares?.(`${m}u`) ?? `squares${m}`)});
  }`,
      );
    }
  }
  return lines.join('\n  ');
}

/** Values that a lane hands over for each of its outputs and rows, one array of workgroup memory each. */
function valuesPerLane(constants: MatvecConstants): number {
  const { slots, cut } = constants;
  return matricesOf(slots) * cut.outputs * cut.rows + (lanesSumSquares(constants) ? cut.rows : 0);
}

/** Bytes of workgroup memory through which lanes exchange sums, and of finished values that are kept. One column of padding keeps the readers of different values on different banks. */
export function matvecMemoryBytes(constants: MatvecConstants): number {
  const { lanes, workgroup } = constants.cut;
  return keptBytes(constants) + (lanes === 1 ? 0 : valuesPerLane(constants) * (workgroup + 1) * 4);
}

/** Lane sums through workgroup memory with a single barrier; each result is then added up by one invocation, neighbours first. */
function finishTogether(constants: MatvecConstants, walk: MatvecWalk): string {
  const { slots, cut } = constants;
  const [matrices, pitch] = [matricesOf(slots), cut.workgroup + 1];
  const results = cut.outputs * cut.rows;
  const values = [
    ...range(matrices).flatMap((matrix) =>
      range(cut.outputs).flatMap((r) => range(cut.rows).map((m) => sumName(matrix, r, m))),
    ),
    ...(lanesSumSquares(constants) ? range(cut.rows).map((m) => `squares${m}`) : []),
  ];
  const walked = walk.squares?.('m') ?? `laneSum((${matrices * results}u + m) * ${pitch}u + base)`;
  const squares = squaresOf(constants, 'row', walked);
  const first = `laneSum(value * ${pitch}u + base)`;
  const sums =
    slots.gate === undefined ? first : `vec2<f32>(${first}, laneSum((value + ${results}u) * ${pitch}u + base))`;
  return /* wgsl */ `
  ${values.map((value, i) => `lanes[${i * pitch}u + local] = ${value};`).join('\n  ')}
  workgroupBarrier();
  for (var item = local; item < ${(cut.workgroup / cut.lanes) * results}u; item += ${cut.workgroup}u) {
    let value = item % ${results}u;
    let group = item / ${results}u;
    let m = value % ${cut.rows}u;
    let base = group * ${cut.lanes}u;
    let row = firstRow + m;
    let output = ((tile / chunks) * ${cut.workgroup / cut.lanes}u + group) * ${cut.outputs}u + value / ${cut.rows}u;
    if (row < u.rows && output < ${slots.outputs}u) { finish(row, output, ${sums}, ${squares}); }
  }`;
}

function laneSumFunction(constants: MatvecConstants): string {
  const { lanes, workgroup } = constants.cut;
  const items = range(lanes).map((i) => `lanes[base + ${i}u]`);
  return /* wgsl */ `
var<workgroup> lanes: array<f32, ${valuesPerLane(constants) * (workgroup + 1)}>;
fn laneSum(base: u32) -> f32 { return ${pairwise(items)}; }`;
}

/** The walk by units, words of a block or vectors of floats. */
export function unitWalk(constants: MatvecConstants): MatvecWalk {
  return {
    functions: `${slotFunctions(constants.slots)}${arithmeticOf(constants).functions}`,
    loop: matvecLoop(constants),
  };
}

/** The kernel in which lanes exchange sums through workgroup memory. */
export function matvecWgsl(constants: MatvecConstants, walk = unitWalk(constants)): string {
  const alone = constants.cut.lanes === 1;
  const { functions, tail } = keptWgsl(constants);
  return /* wgsl */ `
${walk.functions}
${functions}
${alone ? '' : laneSumFunction(constants)}
${matvecEntry(constants.cut.workgroup)}
  ${matvecPlace(constants)}
  ${walk.loop}
  ${alone ? finishAlone(constants, walk) : finishTogether(constants, walk)}
  ${tail}
}`;
}

/** The portable kernel for these slots: `y[m, n] = sum_k x[m, k] * w[n, k]`, f32 products and sums. */
export function matvecKernel(slots: LinearSlots, cut: MatvecCut) {
  return defineKernel({
    name: `matvec-${slotsName(slots)}-${cut.lanes}-lanes`,
    bindings: linearBindings(slots),
    uniforms: linearUniforms,
    features: keptFeatures(slots),
    wgsl: (constants: MatvecConstants) => matvecWgsl(constants),
  });
}
