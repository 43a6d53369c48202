import type {
  BufferView,
  Lowering,
  LoweringContext,
  PreparedForm,
  PreparedRead,
  WeightPart,
} from '../../compile/lowering.ts';
import { elementCount, rowCount } from '../../graph/dtype.ts';
import type { GraphNode } from '../../graph/graph.ts';
import type { Operation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { weightBytes } from '../../graph/weight.ts';
import { grid } from '../../kernel/grid.ts';
import { chooseLinear, matvecCuts } from './choose-linear.ts';
import type { LinearChoice } from './linear-choice.ts';
import { decodeRows, linearChoice } from './linear-choice.ts';
import { linearDeviceKind } from './linear-device.ts';
import type { PreparedFor } from './linear-question.ts';
import { preparedFor } from './linear-question.ts';
import type { LinearNorm, LinearSegment, LinearSlots } from './linear-slots.ts';
import { linearBindings, matricesOf, segmentAlignment } from './linear-slots.ts';
import type { MatvecCut } from './matvec.wgsl.ts';
import { prepareNormKernel } from './prepare-norm.wgsl.ts';
import type { RowForm } from './prepared-rows.wgsl.ts';
import { preparedRowBytes } from './prepared-rows.wgsl.ts';
import { prepareRowsKernel } from './prepare-rows.wgsl.ts';
import { writesRows } from './written-cut.ts';

/** A linear operation with everything that is fused into it. */
export interface LinearPlan {
  readonly x: Tensor;
  /** One matrix; several of one input (an output each); or with a gate two whose outputs are combined. */
  readonly weights: readonly Weight[];
  /** One entry a weight. */
  readonly biases: readonly (Weight | undefined)[];
  readonly norm?: { readonly gain: Weight | undefined; readonly epsilon: number; readonly offset: number };
  readonly gate?: string;
  readonly residual?: Tensor;
  readonly outputs: readonly Tensor[];
}

/** Places the outputs in one buffer, each where it can be bound alone, and names them by their stretches of it. */
function packOutputs(lowering: Lowering, outputs: readonly Tensor[], label: string): BufferView {
  let words = 0;
  const stretches = outputs.map((output) => {
    const count = elementCount(output.shape);
    const stretch = { offsetBytes: words * 4, bytes: count * 4 };
    words += Math.ceil(count / segmentAlignment) * segmentAlignment;
    return stretch;
  });
  const y = lowering.scratch(words * 4, label);
  outputs.forEach((output, i) => lowering.alias(output, { ...y, ...stretches[i]! }));
  return y;
}

/** Outputs of a part of the weight: a stretch for each tensor, or of the only one. */
function segmentsOf(outputs: readonly Tensor[], part: WeightPart): LinearSegment[] {
  const readRows = part.rowEnd - part.rowBegin;
  const strides = outputs.map((output) => output.shape.at(-1)!);
  if (outputs.length === 1) return [{ begin: 0, end: readRows, column: part.rowBegin, stride: strides[0]! }];
  let begin = 0;
  return strides.map((stride) => {
    begin += stride;
    return { begin: begin - stride, end: begin, column: 0, stride };
  });
}

/** A norm in terms of a kernel. */
function normOf(
  context: Pick<LoweringContext, 'weight'>,
  { gain, epsilon, offset }: NonNullable<LinearPlan['norm']>,
): LinearNorm {
  return { epsilon, offset, gainRow: gain && context.weight(gain)[0]!.rowOffset, prepared: false };
}

/** Parts in which the weights of a plan lie. */
const partsOf = (context: Pick<LoweringContext, 'weight' | 'weights'>, { weights }: LinearPlan) =>
  weights.length === 1 ? context.weight(weights[0]!) : [context.weights(weights)!];

/** What a kernel computes for one part of the weights. */
function slotsOf(context: Pick<LoweringContext, 'weight'>, plan: LinearPlan, part: WeightPart): LinearSlots {
  const { x, weights, biases, norm, gate, residual, outputs } = plan;
  const { format, width } = weights[0]!;
  const readRows = part.rowEnd - part.rowBegin;
  return {
    format,
    rows: rowCount(x.shape),
    width,
    outputs: gate === undefined ? readRows : readRows / 2,
    rowOffset: part.rowOffset,
    segments: segmentsOf(outputs, part),
    biases: biases.map((bias) => bias && part.rowBegin + context.weight(bias)[0]!.rowOffset * bias.width),
    ...(norm ? { norm: normOf(context, norm) } : {}),
    ...(gate === undefined ? {} : { gate }),
    residual: residual !== undefined,
  };
}

/** The form in which a matrix reads prepared rows. */
const formOf = ({ weights, norm }: LinearPlan, cut: PreparedFor): PreparedForm => ({
  ...cut,
  width: weights[0]!.width,
  ...(norm ? { norm: { gain: norm.gain, offset: norm.offset } } : {}),
});

/** A form in terms of a kernel. */
export const rowFormOf = (context: Pick<LoweringContext, 'weight'>, { norm, ...form }: PreparedForm): RowForm => ({
  ...form,
  norm: norm && normOf(context, { ...norm, epsilon: 0 }),
});

/** Bindings of a kernel that writes prepared rows. */
export function rowBuffers(
  context: Pick<LoweringContext, 'weight'>,
  { norm }: PreparedForm,
  rows: BufferView,
): Record<string, BufferView> {
  return { prepared: rows, ...(norm?.gain ? { preparedGain: context.weight(norm.gain)[0]!.codes } : {}) };
}

/**
 * What a matrix would rather read prepared: `x`, where its table takes a kernel that has rows prepared, and what makes `x` can write it so.
 */
function linearReads(
  context: LoweringContext,
  plan: LinearPlan,
  offered: (tensor: Tensor, form: PreparedForm) => boolean,
  choice = linearChoice(context.device, context.arithmetic),
): PreparedRead | undefined {
  const { x } = plan;
  const parts = partsOf(context, plan);
  if (rowCount(x.shape) > decodeRows || parts.length > 1) return undefined;
  const slots = slotsOf(context, plan, parts[0]!);
  const wanted = preparedFor(matvecCuts(context, choice, { slots, ready: true })[0]!);
  if (!wanted) return undefined;
  const form = formOf(plan, wanted);
  return offered(x, form) ? { tensor: x, form, rowBytes: preparedRowBytes(rowFormOf(context, form)) } : undefined;
}

/** Storage buffers that a kernel may bind on every device. */
const portableBindings = 8;

/**
 * Whether the kernel of a matrix can write its output as prepared rows, without carrying less than half as many rows for it: decoding the
 * weight again for each chunk of them would cost more than a dispatch.
 */
function linearOffers(
  context: LoweringContext,
  plan: LinearPlan,
  form: PreparedForm,
  choice = linearChoice(context.device, context.arithmetic),
): boolean {
  const { x, outputs } = plan;
  const parts = partsOf(context, plan);
  if (rowCount(x.shape) > decodeRows || parts.length > 1 || outputs.length > 1) return false;
  const plain = slotsOf(context, plan, parts[0]!);
  if (plain.outputs !== form.width) return false;
  const slots: LinearSlots = { ...plain, written: { form: rowFormOf(context, form), plain: true } };
  const [own, writing] = [plain, slots].map(
    (each) => matvecCuts(context, choice, { slots: each, ready: true })[0]!,
  ) as [MatvecCut, MatvecCut];
  if (2 * writing.rows < own.rows || Object.keys(linearBindings(slots)).length > portableBindings) return false;
  return writesRows(linearDeviceKind(context.device), slots, writing);
}

/** Does the norm for all rows at once. */
function prepareNorm(lowering: Lowering, plan: LinearPlan, lanes: number): { x: BufferView; squares: BufferView } {
  const { x, norm, weights } = plan;
  const { format, width } = weights[0]!;
  const rows = rowCount(x.shape);
  const gain = norm!.gain && lowering.weight(norm!.gain)[0]!;
  const constants = { format, lanes, width, norm: normOf(lowering, norm!) };
  const kernel = prepareNormKernel(constants);
  const scaled = lowering.scratch(rows * width * 4, 'scaled');
  const squares = lowering.scratch(rows * 4, 'squares');
  lowering.dispatch(kernel, {
    constants,
    bindings: { x: lowering.tensor(x), ...(gain ? { gain: gain.codes } : {}), scaled, squares },
    workgroups: [rows, 1, 1],
    label: `${norm!.gain?.name ?? 'norm'}: ${kernel.name}`,
    bytes: 4 * (2 * rows * width + (gain ? width : 0)),
    flops: 3 * rows * width,
  });
  return { x: scaled, squares };
}

/** Prepares all rows of `x`, where what made it did not. */
function prepareRows(lowering: Lowering, plan: LinearPlan, form: PreparedForm): BufferView {
  const { x, norm, weights } = plan;
  const rows = rowCount(x.shape);
  const constants = rowFormOf(lowering, form);
  const kernel = prepareRowsKernel(constants);
  const rowBytes = preparedRowBytes(constants);
  const made = lowering.scratch(rows * rowBytes, 'prepared rows');
  lowering.dispatch(kernel, {
    constants,
    bindings: { x: lowering.tensor(x), ...rowBuffers(lowering, form, made) },
    workgroups: [rows, 1, 1],
    label: `${norm?.gain?.name ?? weights[0]!.name}: ${kernel.name}`,
    bytes: rows * (4 * form.width + rowBytes) + (norm?.gain ? 4 * form.width : 0),
    flops: 3 * rows * form.width,
  });
  return made;
}

/** What an operation needs to be lowered as a matrix: its plan, and how kernels are chosen where the table is not asked. */
export function linearKernels<Attributes extends object>(
  planOf: (node: GraphNode<Attributes>) => LinearPlan,
  choice?: LinearChoice,
): Pick<Operation<Attributes>, 'lower' | 'readsPrepared' | 'offersPrepared'> {
  return {
    lower: (lowering, node) => lowerLinear(lowering, planOf(node), choice),
    readsPrepared: (context, node, offered) => linearReads(context, planOf(node), offered, choice),
    offersPrepared: (context, node, form) => linearOffers(context, planOf(node), form, choice),
  };
}

/** Chooses the kernel for each part of the weight and appends its dispatch. */
export function lowerLinear(
  lowering: Lowering,
  plan: LinearPlan,
  choice = linearChoice(lowering.device, lowering.arithmetic),
): void {
  const { x, weights, biases, norm, residual, outputs } = plan;
  const { format, width } = weights[0]!;
  const rows = rowCount(x.shape);
  const parts = partsOf(lowering, plan);
  const name = weights.map((weight) => weight.name).join(' + ');
  const wanted = outputs.length === 1 ? lowering.wanted(outputs[0]!) : undefined;
  const written = wanted && { form: rowFormOf(lowering, wanted.form), plain: wanted.plain };
  const y =
    outputs.length > 1
      ? packOutputs(lowering, outputs, name)
      : wanted?.plain === false
        ? undefined
        : lowering.tensor(outputs[0]!);
  const gain = norm?.gain && lowering.weight(norm.gain)[0]!;
  let made: Readonly<Record<string, BufferView>> | undefined;
  for (const part of parts) {
    const plain: LinearSlots = { ...slotsOf(lowering, plan, part), ...(written ? { written } : {}) };
    const wants =
      rows > decodeRows ? undefined : preparedFor(matvecCuts(lowering, choice, { slots: plain, ready: true })[0]!);
    const ready = wants && lowering.prepared(x, formOf(plan, wants));
    const chosen = chooseLinear(lowering, choice, plain, ready !== undefined);
    const { kernel, slots, cut, workgroups, reads, text } = chosen;
    if (reads === 'normed') made ??= prepareNorm(lowering, plan, choice.lanes(format, width));
    else if (reads !== 'plain') made ??= { x: ready ?? prepareRows(lowering, plan, formOf(plan, reads)) };
    const readRows = part.rowEnd - part.rowBegin;
    const weightTotal = weightBytes(format, readRows, width);
    const outputCount = rows * slots.outputs;
    lowering.dispatch(kernel, {
      constants: { slots, cut },
      uniforms: { rows },
      bindings: {
        ...(reads === 'plain' ? { x: lowering.tensor(x) } : made),
        codes: part.codes,
        ...(part.scales ? { scales: part.scales } : {}),
        ...(slots.norm?.gainRow === undefined ? {} : { gain: gain!.codes }),
        ...Object.fromEntries(
          biases.flatMap((bias, i) => (bias ? [[`bias${i}`, lowering.weight(bias)[0]!.codes]] : [])),
        ),
        ...(residual ? { residual: lowering.tensor(residual) } : {}),
        ...(wanted ? rowBuffers(lowering, wanted.form, wanted.rows) : {}),
        ...(y ? { y } : {}),
      },
      workgroups: grid(workgroups),
      label: `${name}: ${kernel.name}`,
      choice: text,
      bytes: weightTotal.codes + weightTotal.scales + 4 * (elementCount(x.shape) + outputCount),
      flops: 2 * outputCount * matricesOf(slots) * width,
    });
  }
}
