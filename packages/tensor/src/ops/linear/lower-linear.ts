import type { BufferView, Lowering, WeightPart } from '../../compile/lowering.ts';
import { elementCount, rowCount } from '../../graph/dtype.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { weightBytes } from '../../graph/weight.ts';
import type { AnyKernel, Kernel } from '../../kernel/define-kernel.ts';
import { grid } from '../../kernel/grid.ts';
import type { LinearChoice, TileCut } from './linear-choice.ts';
import { cutText, linearChoice, tileText } from './linear-choice.ts';
import type { CutKernel, PreparedFor } from './linear-question.ts';
import { choiceText, familyQuestion, linearQuestion, preparedFor, questionKey } from './linear-question.ts';
import type { LinearSegment, LinearSlots } from './linear-slots.ts';
import { matricesOf, segmentAlignment } from './linear-slots.ts';
import { matmulBlocksKernel } from './matmul-blocks.wgsl.ts';
import { matmulMatrixKernel, matrixWorkgroups } from './matmul-matrix.wgsl.ts';
import { matmulKernel, matmulWorkgroups } from './matmul.wgsl.ts';
import { matvecF16Kernel, matvecF16SubgroupKernel } from './matvec-f16.wgsl.ts';
import { matvecBlocksKernel } from './matvec-blocks.wgsl.ts';
import { matvecSubgroupKernel } from './matvec-subgroup.wgsl.ts';
import type { MatvecCut } from './matvec.wgsl.ts';
import { matvecKernel, matvecWorkgroups } from './matvec.wgsl.ts';
import { prepareNormKernel } from './prepare-norm.wgsl.ts';
import { preparedRowBytes, prepareRowsKernel } from './prepare-rows.wgsl.ts';

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
function packOutputs(
  lowering: Lowering,
  outputs: readonly Tensor[],
  label: string,
): { y: BufferView; segments: LinearSegment[] } {
  const segments: LinearSegment[] = [];
  let [begin, words] = [0, 0];
  const stretches = outputs.map((output) => {
    const stride = output.shape.at(-1)!;
    const count = elementCount(output.shape);
    segments.push({ begin, end: begin + stride, column: 0, stride });
    const stretch = { offsetBytes: words * 4, bytes: count * 4 };
    begin += stride;
    words += Math.ceil(count / segmentAlignment) * segmentAlignment;
    return stretch;
  });
  const y = lowering.scratch(words * 4, label);
  outputs.forEach((output, i) => lowering.alias(output, { ...y, ...stretches[i]! }));
  return { y, segments };
}

/** Does the norm for all rows at once where the table says so. */
function prepareNorm(lowering: Lowering, plan: LinearPlan, lanes: number): { x: BufferView; squares: BufferView } {
  const { x, norm, weights } = plan;
  const { format, width } = weights[0]!;
  const rows = rowCount(x.shape);
  const gain = norm!.gain && lowering.weight(norm!.gain)[0]!;
  const constants = {
    format,
    lanes,
    width,
    norm: { epsilon: norm!.epsilon, offset: norm!.offset, gainRow: gain?.rowOffset, prepared: false },
  };
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

/** Brings all rows of `x` into the form that a kernel of whole blocks reads. */
function prepareRows(lowering: Lowering, plan: LinearPlan, cut: PreparedFor): Readonly<Record<string, BufferView>> {
  const { x, norm, weights } = plan;
  const { width } = weights[0]!;
  const rows = rowCount(x.shape);
  const gain = norm?.gain && lowering.weight(norm.gain)[0]!;
  const constants = {
    ...cut,
    width,
    norm: norm && { epsilon: norm.epsilon, offset: norm.offset, gainRow: gain?.rowOffset, prepared: false },
  };
  const kernel = prepareRowsKernel(constants);
  const bytes = preparedRowBytes(constants);
  const pieces = lowering.scratch(rows * bytes.pieces, 'prepared rows');
  const made: Record<string, BufferView> = {
    ...(bytes.scales > 0 ? { rowScales: lowering.scratch(rows * bytes.scales, 'row scales') } : {}),
    ...(bytes.squares > 0 ? { squares: lowering.scratch(rows * bytes.squares, 'squares') } : {}),
  };
  lowering.dispatch(kernel, {
    constants,
    bindings: { x: lowering.tensor(x), ...(gain ? { gain: gain.codes } : {}), pieces, ...made },
    workgroups: [rows, 1, 1],
    label: `${norm?.gain?.name ?? weights[0]!.name}: ${kernel.name}`,
    bytes: rows * (4 * width + bytes.pieces + bytes.scales + bytes.squares) + (gain ? 4 * width : 0),
    flops: 3 * rows * width,
  });
  return { x: pieces, ...made };
}

/** A kernel of a linear operation, whichever it is. */
type LinearKernel = Kernel<object, string, 'rows'>;

/** A kernel with its constants and grid, and what it reads for `x`. */
interface Chosen {
  readonly kernel: LinearKernel;
  readonly slots: LinearSlots;
  readonly cut: object;
  readonly workgroups: number;
  readonly rows: Readonly<Record<string, BufferView>> | undefined;
  /** For `explain`. */
  readonly text: string;
}

function matvecKernelOf(slots: LinearSlots, cut: MatvecCut) {
  if (cut.blocks) return matvecBlocksKernel(slots, cut);
  const kernels =
    cut.arithmetic === 'f16'
      ? { subgroups: matvecF16SubgroupKernel, portable: matvecF16Kernel }
      : { subgroups: matvecSubgroupKernel, portable: matvecKernel };
  return kernels[cut.subgroups ? 'subgroups' : 'portable'](slots, cut);
}

/** The slots where `x` comes times the gain, its squares summed. */
const prepared = (slots: LinearSlots): LinearSlots =>
  slots.norm ? { ...slots, norm: { ...slots.norm, gainRow: undefined, prepared: true } } : slots;

/** The decode kernel of a cut; where it has its rows prepared, so are the slots. */
export function matvecOf(slots: LinearSlots, cut: MatvecCut): CutKernel {
  const own = cut.blocks?.tiles === 0 ? prepared(slots) : slots;
  const kernel = matvecKernelOf(own, cut) as unknown as AnyKernel;
  return { kernel, slots: own, workgroups: matvecWorkgroups(own, cut) };
}

/** The prefill kernel of a cut. */
export function matmulOf(slots: LinearSlots, cut: TileCut): CutKernel {
  if ('matrix' in cut) {
    const kernel = matmulMatrixKernel(slots, cut) as unknown as AnyKernel;
    return { kernel, slots, workgroups: matrixWorkgroups(slots, cut) };
  }
  const kernel = preparedFor(cut) ? matmulBlocksKernel(slots, cut) : matmulKernel(slots);
  return { kernel: kernel as unknown as AnyKernel, slots, workgroups: matmulWorkgroups(slots, cut) };
}

/** Chooses kernels for the parts of a weight, and prepares `x` once where they want it. */
function chooser(lowering: Lowering, plan: LinearPlan, choice: LinearChoice): (slots: LinearSlots) => Chosen {
  const { arithmetic, choices } = lowering;
  const { format, width } = plan.weights[0]!;
  let rows: Readonly<Record<string, BufferView>> | undefined;
  const pick = <Cut extends object>(
    slots: LinearSlots,
    options: {
      readonly kind: string;
      readonly fallback: Cut;
      readonly candidates: readonly Cut[] | undefined;
      readonly name: (cut: Cut) => string;
      readonly kernel: (slots: LinearSlots, cut: Cut) => CutKernel;
    },
  ): Omit<Chosen, 'rows'> & { readonly cut: Cut } => {
    const { kind, fallback, candidates, name, kernel } = options;
    const key = questionKey(kind, slots, arithmetic);
    const cut =
      candidates && choices ? choices.pick(linearQuestion({ key, candidates, name, slots, kernel })) : fallback;
    const made = kernel(slots, cut);
    return { ...made, kernel: made.kernel as LinearKernel, cut, text: choiceText(choices, key, name(cut)) };
  };
  const withRows = (made: Omit<Chosen, 'rows'>): Chosen => {
    const wanted = preparedFor(made.cut);
    if (!wanted) return { ...made, rows: undefined };
    rows ??= prepareRows(lowering, plan, wanted);
    return { ...made, rows };
  };
  /** Cuts of the order of sums that the matrix takes. */
  const cutsOf = (slots: LinearSlots): readonly MatvecCut[] => {
    const families = choice.families?.(slots);
    if (!families || !choices) return [choice.matvec(slots)];
    if (families.length === 1) return families[0]!.cuts(slots);
    return choices.pick(familyQuestion({ arithmetic, families, slots, kernel: matvecOf })).cuts(slots);
  };
  const matvec = (slots: LinearSlots, cuts: readonly MatvecCut[]) =>
    pick(slots, { kind: 'matvec', fallback: cuts[0]!, candidates: cuts, name: cutText, kernel: matvecOf });
  return (slots) => {
    const tiles = slots.norm ? undefined : choice.matmul(slots);
    if (tiles) {
      const candidates = choice.matmuls?.(slots);
      // Answers are kept: those of a device with matrices and without are two.
      const kind = candidates?.some((cut) => 'matrix' in cut) ? 'matmul with matrices' : 'matmul';
      return withRows(pick(slots, { kind, fallback: tiles, candidates, name: tileText, kernel: matmulOf }));
    }
    const cuts = cutsOf(slots);
    if (!cuts[0]!.blocks && slots.norm && choice.preparesNorm(slots.rows)) {
      rows ??= prepareNorm(lowering, plan, choice.lanes(format, width));
      return { ...matvec(prepared(slots), cuts), rows };
    }
    return withRows(matvec(slots, cuts));
  };
}

/** Chooses the kernel for each part of the weight and appends its dispatch. */
export function lowerLinear(
  lowering: Lowering,
  plan: LinearPlan,
  choice = linearChoice(lowering.device, lowering.arithmetic),
): void {
  const { x, weights, biases, norm, gate, residual, outputs } = plan;
  const [first] = weights as readonly [Weight];
  const [rows, width] = [rowCount(x.shape), first.width];
  const parts: readonly WeightPart[] = weights.length === 1 ? lowering.weight(first) : [lowering.weights(weights)!];
  const name = weights.map((weight) => weight.name).join(' + ');
  const packed = outputs.length > 1 ? packOutputs(lowering, outputs, name) : undefined;
  const y = packed?.y ?? lowering.tensor(outputs[0]!);
  const stride = outputs[0]!.shape.at(-1)!;
  const gain = norm?.gain && lowering.weight(norm.gain)[0]!;
  const biasParts = biases.map((bias) => bias && { ...lowering.weight(bias)[0]!, width: bias.width });
  const choose = chooser(lowering, plan, choice);
  for (const part of parts) {
    const readRows = part.rowEnd - part.rowBegin;
    const {
      kernel,
      slots,
      cut,
      workgroups,
      rows: ready,
      text,
    } = choose({
      format: first.format,
      rows,
      width,
      outputs: gate === undefined ? readRows : readRows / 2,
      rowOffset: part.rowOffset,
      segments: packed?.segments ?? [{ begin: 0, end: readRows, column: part.rowBegin, stride }],
      biases: biasParts.map((bias) => bias && part.rowBegin + bias.rowOffset * bias.width),
      ...(norm
        ? { norm: { epsilon: norm.epsilon, offset: norm.offset, gainRow: gain?.rowOffset, prepared: false } }
        : {}),
      ...(gate === undefined ? {} : { gate }),
      residual: residual !== undefined,
    });
    const weightTotal = weightBytes(first.format, readRows, width);
    const outputCount = rows * slots.outputs;
    lowering.dispatch(kernel, {
      constants: { slots, cut },
      uniforms: { rows },
      bindings: {
        ...(ready ?? { x: lowering.tensor(x) }),
        codes: part.codes,
        ...(part.scales ? { scales: part.scales } : {}),
        ...(slots.norm?.gainRow === undefined ? {} : { gain: gain!.codes }),
        ...Object.fromEntries(biasParts.flatMap((bias, i) => (bias ? [[`bias${i}`, bias.codes]] : []))),
        ...(residual ? { residual: lowering.tensor(residual) } : {}),
        y,
      },
      workgroups: grid(workgroups),
      label: `${name}: ${kernel.name}`,
      choice: text,
      bytes: weightTotal.codes + weightTotal.scales + 4 * (elementCount(x.shape) + outputCount),
      flops: 2 * outputCount * matricesOf(slots) * width,
    });
  }
}
