import type { WeightFormat } from '../../graph/weight.ts';
import { quantBlock } from '../../graph/weight.ts';
import type { Binding } from '../../kernel/define-kernel.ts';
import { read, write } from '../../kernel/define-kernel.ts';
import { activationWgsl } from '../../wgsl/activation.ts';
import { quadFunction, quadType, weightReader } from '../../wgsl/weight-reader.ts';
import { apply, input, wgsl, wgslLiteral } from '../elementwise/expression.ts';
import type { RowForm } from './prepared-rows.wgsl.ts';
import { rowBindings } from './prepared-rows.wgsl.ts';

/**
 * Outputs `begin ..< end` of a matrix, which go to a stretch of `y` of their own: output o of row m to column `column + o - begin` of
 * rows of `stride`. Stretches follow each other, each at a multiple of {@link segmentAlignment} words.
 */
export interface LinearSegment {
  readonly begin: number;
  readonly end: number;
  readonly column: number;
  readonly stride: number;
}

/** Words at whose multiples part of a buffer can be bound on every device. */
export const segmentAlignment = 64;

/** The norm in front of a matrix. */
export interface LinearNorm {
  readonly epsilon: number;
  /** Added to the gain: 1 where weights are stored less one. */
  readonly offset: number;
  /** Row of the binding `gain` that is the gain; none: all ones. */
  readonly gainRow: number | undefined;
  /** Whether `x` comes multiplied by the gain, its squares summed (in part) by what prepared it. Same bits either way. */
  readonly prepared: boolean;
}

/**
 * What a kernel of a linear operation computes, whichever kernel it is. Compile-time constants: sizes, where the outputs go, and what
 * is done before (normalisation) and after (bias, gate, residual).
 */
export interface LinearSlots {
  readonly format: WeightFormat;
  /** M, rows of `x`; for choosing a kernel only, the kernels take it as a uniform. */
  readonly rows: number;
  /** K, columns of `x`. */
  readonly width: number;
  /** Rows of the matrix that this dispatch reads; of each of the two when gated. */
  readonly outputs: number;
  /** Row of the weight's binding that is output 0. With a gate, the second matrix follows the first. */
  readonly rowOffset: number;
  readonly segments: readonly LinearSegment[];
  /** One entry a segment (a matrix when gated): index in the binding `bias<i>` of its first output, or none. */
  readonly biases: readonly (number | undefined)[];
  /** `x` is divided by its root mean square and multiplied by `gain + offset`. The scalar is applied to finished sums. */
  readonly norm?: LinearNorm;
  /** `y = gate(first) * second`: the name of an elementwise function. */
  readonly gate?: string;
  /** `y = residual + …`, in the layout of `y`. */
  readonly residual: boolean;
  /** The only output as the rows that its readers want prepared, in the binding `prepared`. */
  readonly written?: WrittenRows;
}

/** What a kernel writes for matrices that read its output. */
export interface WrittenRows {
  readonly form: RowForm;
  /** Whether `y` is written too. */
  readonly plain: boolean;
}

/** The slots where `x` comes times the gain, its squares summed. */
export const preparedSlots = (slots: LinearSlots): LinearSlots =>
  slots.norm ? { ...slots, norm: { ...slots.norm, gainRow: undefined, prepared: true } } : slots;

/** Matrices whose rows are combined into one output. */
export function matricesOf({ gate }: LinearSlots): 1 | 2 {
  return gate === undefined ? 1 : 2;
}

/** Row of the gain that the kernel itself reads. */
function gainRow({ norm }: LinearSlots): number | undefined {
  return norm?.prepared ? undefined : norm?.gainRow;
}

/** Whether the kernel sums the squares of `x` while it walks. */
export function sumsSquares({ norm }: LinearSlots): boolean {
  return norm !== undefined && !norm.prepared;
}

/** How a kernel reads `x` and the codes where it does not as {@link weightReader} and `quadFunction` do. */
export interface LinearAccess {
  /** Element types of the bindings `x` and `codes`. */
  readonly x: string;
  readonly codes: string;
  /** Bindings besides. */
  readonly more?: Readonly<Record<string, Binding>>;
}

/** Bindings that the slots need. */
export function linearBindings(slots: LinearSlots, access?: LinearAccess): Record<string, Binding> {
  const { codesType, scaled } = weightReader(slots.format, slots.width);
  return {
    x: read(access?.x ?? quadType(slots.width)),
    codes: read(access?.codes ?? codesType),
    ...(scaled ? { scales: read('u32') } : {}),
    ...(gainRow(slots) === undefined ? {} : { gain: read(quadType(slots.width)) }),
    ...(access?.more ?? (slots.norm?.prepared ? { squares: read('f32') } : {})),
    ...Object.fromEntries(slots.biases.flatMap((bias, i) => (bias === undefined ? [] : [[`bias${i}`, read('f32')]]))),
    ...(slots.residual ? { residual: read('f32') } : {}),
    ...(slots.written ? rowBindings(slots.written.form) : {}),
    ...(slots.written?.plain === false ? {} : { y: write('f32') }),
  };
}

/** Uniforms of the kernels: M. */
export const linearUniforms = { rows: 'u32' } as const;

/** A name that tells pipelines of different slots apart. */
export function slotsName(slots: LinearSlots): string {
  return [
    slots.norm ? [slots.norm.prepared ? 'prepared' : 'norm'] : [],
    slots.format,
    slots.gate ? [slots.gate] : [],
    slots.segments.length > 1 ? [`${slots.segments.length}-way`] : [],
    slots.biases.some((bias) => bias !== undefined) ? ['bias'] : [],
    slots.residual ? ['residual'] : [],
    slots.written ? [`writes-${slots.written.form.arithmetic}`] : [],
  ]
    .flat()
    .join('-');
}

function bySegment(segments: readonly LinearSegment[], body: (segment: LinearSegment, i: number) => string): string {
  return segments
    .map((segment, i) =>
      i === segments.length - 1 ? body(segment, i) : `if (output < ${segment.end}u) { ${body(segment, i)} }`,
    )
    .join('\n  ');
}

const biasAt = (i: number, offset: number, begin: number) => `bias${i}[output + ${offset}u - ${begin}u]`;

function biasFunctions({ segments, biases, gate }: LinearSlots): string {
  if (gate !== undefined) {
    return biases
      .map((bias, i) =>
        bias === undefined ? '' : `fn biasOf${i}(output: u32) -> f32 { return ${biasAt(i, bias, 0)}; }`,
      )
      .join('\n');
  }
  if (biases.every((bias) => bias === undefined)) return '';
  const one = ({ begin }: LinearSegment, i: number) => {
    const bias = biases[i];
    return bias === undefined ? 'return 0.0;' : `return ${biasAt(i, bias, begin)};`;
  };
  return `fn biasOf0(output: u32) -> f32 {\n  ${bySegment(segments, one)}\n}`;
}

/** WGSL of the words that a segment's rows take, with what aligns the next. */
const stretchWords = ({ stride }: LinearSegment) =>
  `((u.rows * ${stride}u + ${segmentAlignment - 1}u) & ${0xffff_ffff - segmentAlignment + 1}u)`;

/** `sum * factor + bias` in one rounding, so that no driver decides how many. */
function affine(sum: string, bias: string | undefined, normed: boolean): string {
  if (bias === undefined) return normed ? `${sum} * factor` : sum;
  return normed ? `fma(${sum}, factor, ${bias})` : `(${sum} + ${bias})`;
}

/** WGSL of the value that is stored, from `sums`, and `factor` when normalised. */
function resultWgsl({ biases, gate, norm, residual }: LinearSlots): string {
  const normed = norm !== undefined;
  if (gate === undefined) {
    const value = affine('sums', biases.some((bias) => bias !== undefined) ? 'biasOf0(output)' : undefined, normed);
    return residual ? `before + ${value}` : value;
  }
  const [first, second] = ['sums.x', 'sums.y'].map((sum, i) =>
    affine(sum, biases[i] === undefined ? undefined : `biasOf${i}(output)`, normed),
  );
  return `${wgsl(apply(gate, [input(0, 'f32')]), [`(${first})`])} * (${second})`;
}

/**
 * WGSL that the kernels share: readers of `x`, `gain` and the weight, and `finish(row, output, sums, squares)`, which takes finished
 * sums (`vec2` when gated) and the row's sum of squares, and writes `y`, or hands the value to `keep(row, output, value)` of the kernel where
 * it is to be written prepared. Where there is a residual, `finishWith` takes the value of it too. `padded`: `x` is read past the row's end, for zeros. `readers`: the readers, where a kernel has its own.
 */
export function slotFunctions(
  slots: LinearSlots,
  options: { readonly padded?: boolean; readonly readers?: string } = {},
): string {
  const { segments, norm, gate, width, format, residual, written } = slots;
  const reader = weightReader(format, width);
  const place = ({ begin, column, stride }: LinearSegment, i: number) =>
    [...segments.slice(0, i).map(stretchWords), `row * ${stride}u + output + ${column}u - ${begin}u`].join(' + ');
  const padded = options.padded || width % (reader.quads * 4) !== 0 || (reader.scaled && width % quantBlock !== 0);
  const parameters = `row: u32, output: u32, sums: ${gate === undefined ? 'f32' : 'vec2<f32>'}, squares: f32`;
  const meanSquare = `squares * ${wgslLiteral(1 / width, 'f32')}`;
  const readers = () => `${reader.functions}
${quadFunction('x', width, { padded })}
${gainRow(slots) === undefined ? '' : quadFunction('gain', width, { padded })}`;
  return /* wgsl */ `
${activationWgsl}
${options.readers ?? readers()}
${biasFunctions(slots)}
fn outputIndex(row: u32, output: u32) -> u32 {
  ${bySegment(segments, (segment, i) => `return ${place(segment, i)};`)}
}
fn ${residual ? 'finishWith' : 'finish'}(${parameters}${residual ? ', before: f32' : ''}) {
  let at = outputIndex(row, output);
  ${norm ? `let factor = inverseSqrt(${meanSquare} + ${wgslLiteral(norm.epsilon, 'f32')});` : ''}
  let value = ${resultWgsl(slots)};
  ${written?.plain === false ? '' : 'y[at] = value;'}
  ${written ? 'keep(row, output, value);' : ''}
}
${residual ? `fn finish(${parameters}) { finishWith(row, output, sums, squares, residual[outputIndex(row, output)]); }` : ''}`;
}

/** WGSL of `gain(k) + offset` for a quad, from {@link slotFunctions}. */
export function gainQuadWgsl({ gainRow: row, offset }: LinearNorm, k: string): string {
  if (row === undefined) return 'vec4<f32>(1.0)';
  return offset === 0 ? `gainQuad(${row}u, ${k})` : `(gainQuad(${row}u, ${k}) + ${wgslLiteral(offset, 'f32')})`;
}
