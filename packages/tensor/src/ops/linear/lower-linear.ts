import type { BufferView, Lowering, WeightPart } from '../../compile/lowering.ts';
import { elementCount, rowCount } from '../../graph/dtype.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { weightBytes } from '../../graph/weight.ts';
import type { Kernel } from '../../kernel/define-kernel.ts';
import { grid } from '../../kernel/grid.ts';
import type { LinearChoice } from './linear-choice.ts';
import { linearChoice } from './linear-choice.ts';
import type { LinearSegment, LinearSlots } from './linear-slots.ts';
import { matricesOf, segmentAlignment } from './linear-slots.ts';
import { matmulKernel, matmulWorkgroups } from './matmul.wgsl.ts';
import { matvecF16Kernel, matvecF16SubgroupKernel } from './matvec-f16.wgsl.ts';
import { matvecSubgroupKernel } from './matvec-subgroup.wgsl.ts';
import { matvecKernel, matvecWorkgroups } from './matvec.wgsl.ts';
import { prepareNormKernel } from './prepare-norm.wgsl.ts';

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

/** A kernel of a linear operation, whichever it is. */
type LinearKernel = Kernel<object, string, 'rows'>;

/** The kernel for these slots. */
function choose(
  slots: LinearSlots,
  choice: LinearChoice,
): { kernel: LinearKernel; constants: object; workgroups: number } {
  const matmul = slots.norm ? undefined : choice.matmul(slots);
  if (matmul) {
    const workgroups = matmulWorkgroups(slots, matmul);
    return { kernel: matmulKernel(slots) as LinearKernel, constants: { slots, cut: matmul }, workgroups };
  }
  const cut = choice.matvec(slots);
  const kernels = {
    f32: { subgroups: matvecSubgroupKernel, portable: matvecKernel },
    f16: { subgroups: matvecF16SubgroupKernel, portable: matvecF16Kernel },
  }[cut.arithmetic ?? 'f32'];
  const kernel = kernels[cut.subgroups ? 'subgroups' : 'portable'](slots, cut);
  return { kernel: kernel as LinearKernel, constants: { slots, cut }, workgroups: matvecWorkgroups(slots, cut) };
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
  const prepared =
    norm && choice.preparesNorm(rows) ? prepareNorm(lowering, plan, choice.lanes(first.format, width)) : undefined;
  const gain = norm?.gain && !prepared ? lowering.weight(norm.gain)[0]! : undefined;
  const biasParts = biases.map((bias) => bias && { ...lowering.weight(bias)[0]!, width: bias.width });
  for (const part of parts) {
    const readRows = part.rowEnd - part.rowBegin;
    const slots: LinearSlots = {
      format: first.format,
      rows,
      width,
      outputs: gate === undefined ? readRows : readRows / 2,
      rowOffset: part.rowOffset,
      segments: packed?.segments ?? [{ begin: 0, end: readRows, column: part.rowBegin, stride }],
      biases: biasParts.map((bias) => bias && part.rowBegin + bias.rowOffset * bias.width),
      ...(norm
        ? {
            norm: {
              epsilon: norm.epsilon,
              offset: norm.offset,
              gainRow: gain?.rowOffset,
              prepared: prepared !== undefined,
            },
          }
        : {}),
      ...(gate === undefined ? {} : { gate }),
      residual: residual !== undefined,
    };
    const { kernel, constants, workgroups } = choose(slots, choice);
    const weightTotal = weightBytes(first.format, readRows, width);
    const outputCount = rows * slots.outputs;
    lowering.dispatch(kernel, {
      constants,
      uniforms: { rows },
      bindings: {
        x: prepared?.x ?? lowering.tensor(x),
        ...(prepared ? { squares: prepared.squares } : {}),
        codes: part.codes,
        ...(part.scales ? { scales: part.scales } : {}),
        ...(gain ? { gain: gain.codes } : {}),
        ...Object.fromEntries(biasParts.flatMap((bias, i) => (bias ? [[`bias${i}`, bias.codes]] : []))),
        ...(residual ? { residual: lowering.tensor(residual) } : {}),
        y,
      },
      workgroups: grid(workgroups),
      label: `${name}: ${kernel.name}`,
      bytes: weightTotal.codes + weightTotal.scales + 4 * (elementCount(x.shape) + outputCount),
      flops: 2 * outputCount * matricesOf(slots) * width,
    });
  }
}
