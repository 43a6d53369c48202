import type { WeightFormat } from '../../graph/weight.ts';
import type { Binding } from '../../kernel/define-kernel.ts';
import { read, write } from '../../kernel/define-kernel.ts';
import { activationWgsl } from '../../wgsl/activation.ts';
import { quadFunction, quadType, weightReader } from '../../wgsl/weight-reader.ts';
import { apply, input, wgsl, wgslLiteral } from '../elementwise/expression.ts';

/** Outputs `begin ..< end` of a matrix: output o of row m goes to `y[offset + m * stride + o - begin]`. */
export interface LinearSegment {
  readonly begin: number;
  readonly end: number;
  readonly offset: number;
  readonly stride: number;
}

/**
 * What a kernel of a linear operation computes, whichever kernel it is. Compile-time constants: sizes, where the outputs go, and what
 * is done before (normalisation) and after (bias, gate, residual).
 */
export interface LinearSlots {
  readonly format: WeightFormat;
  /** M, rows of `x`. */
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
  /** `x` is divided by its root mean square and multiplied by `gain + offset`, where row `gainRow` of the binding is the gain. */
  readonly norm?: { readonly epsilon: number; readonly offset: number; readonly gainRow: number | undefined };
  /** `y = gate(first) * second`: the name of an elementwise function. */
  readonly gate?: string;
  /** `y = residual + …`, in the layout of `y`. */
  readonly residual: boolean;
}

/** Matrices whose rows are combined into one output. */
export function matricesOf({ gate }: LinearSlots): 1 | 2 {
  return gate === undefined ? 1 : 2;
}

/** Bindings that the slots need. */
export function linearBindings(slots: LinearSlots): Record<string, Binding> {
  const { codesType, scaled } = weightReader(slots.format, slots.width);
  return {
    x: read(quadType(slots.width)),
    codes: read(codesType),
    ...(scaled ? { scales: read('u32') } : {}),
    ...(slots.norm?.gainRow === undefined ? {} : { gain: read(quadType(slots.width)) }),
    ...Object.fromEntries(slots.biases.flatMap((bias, i) => (bias === undefined ? [] : [[`bias${i}`, read('f32')]]))),
    ...(slots.residual ? { residual: read('f32') } : {}),
    y: write('f32'),
  };
}

/** A name that tells pipelines of different slots apart. */
export function slotsName(slots: LinearSlots): string {
  return [
    slots.norm ? ['norm'] : [],
    slots.format,
    slots.gate ? [slots.gate] : [],
    slots.segments.length > 1 ? [`${slots.segments.length}-way`] : [],
    slots.biases.some((bias) => bias !== undefined) ? ['bias'] : [],
    slots.residual ? ['residual'] : [],
  ]
    .flat()
    .join('-');
}

function bySegment(segments: readonly LinearSegment[], body: (segment: LinearSegment, i: number) => string): string {
  return segments
    .map((segment, i) => (i === segments.length - 1 ? body(segment, i) : `if (output < ${segment.end}u) { ${body(segment, i)} }`))
    .join('\n  ');
}

const biasAt = (i: number, offset: number, begin: number) => `bias${i}[output + ${offset}u - ${begin}u]`;

function biasFunctions({ segments, biases, gate }: LinearSlots): string {
  if (gate !== undefined) {
    return biases
      .map((bias, i) => (bias === undefined ? '' : `fn biasOf${i}(output: u32) -> f32 { return ${biasAt(i, bias, 0)}; }`))
      .join('\n');
  }
  if (biases.every((bias) => bias === undefined)) return '';
  const one = ({ begin }: LinearSegment, i: number) => {
    const bias = biases[i];
    return bias === undefined ? 'return 0.0;' : `return ${biasAt(i, bias, begin)};`;
  };
  return `fn biasOf0(output: u32) -> f32 {\n  ${bySegment(segments, one)}\n}`;
}

/** `sum * factor + bias`, with as few roundings as there are terms, and none left to the driver's choice. */
function affine(sum: string, addend: string | undefined, normed: boolean): string {
  if (addend === undefined) return normed ? `${sum} * factor` : sum;
  return normed ? `fma(${sum}, factor, ${addend})` : `(${sum} + ${addend})`;
}

/**
 * WGSL that the kernels share: readers of `x`, `gain` and the weight, and `finish(row, output, sums, squares)`, which takes finished
 * sums (`vec2` when gated) and the row's sum of squares, and writes `y`.
 */
export function slotFunctions(slots: LinearSlots): string {
  const { segments, biases, norm, gate, residual, width, format } = slots;
  const reader = weightReader(format, width);
  const at = ({ begin, offset, stride }: LinearSegment) => `row * ${stride}u + output + ${offset}u - ${begin}u`;
  const index = bySegment(segments, (segment) => `return ${at(segment)};`);
  const normed = norm !== undefined;
  const hasBias = (i: number) => (gate === undefined ? biases.some((bias) => bias !== undefined) : biases[i] !== undefined);
  const bias = (i: number) => (hasBias(i) ? `biasOf${i}(output)` : undefined);
  const gated = () =>
    `let gate = ${affine('sums.x', bias(0), normed)};
  let value = ${wgsl(apply(gate!, [input(0, 'f32')]), ['gate'])} * ${affine('sums.y', bias(1), normed)};`;
  const plain = () => {
    const inner = bias(0) ?? (residual ? 'residual[at]' : undefined);
    const value = affine('sums', inner, normed);
    return `let value = ${bias(0) && residual ? `residual[at] + ${value}` : value};`;
  };
  const padded = width % (reader.quads * 4) !== 0 || (reader.scaled && width % 32 !== 0);
  return /* wgsl */ `
${activationWgsl}
${reader.functions}
${quadFunction('x', width, { padded })}
${norm?.gainRow === undefined ? '' : quadFunction('gain', width, { padded })}
${biasFunctions(slots)}
fn outputIndex(row: u32, output: u32) -> u32 {
  ${index}
}
fn finish(row: u32, output: u32, sums: ${gate === undefined ? 'f32' : 'vec2<f32>'}, squares: f32) {
  let at = outputIndex(row, output);
  ${normed ? `let factor = inverseSqrt(squares * ${wgslLiteral(1 / width, 'f32')} + ${wgslLiteral(norm.epsilon, 'f32')});` : ''}
  ${gate === undefined ? plain() : gated()}
  y[at] = value;
}`;
}
