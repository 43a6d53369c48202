import type { BufferView, Lowering, WeightPart } from '../../compile/lowering.ts';
import { elementCount, rowCount } from '../../graph/dtype.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { weightBytes } from '../../graph/weight.ts';
import { grid } from '../../kernel/grid.ts';
import { linearDeviceKind, matvecCut } from './linear-choice.ts';
import type { LinearSegment, LinearSlots } from './linear-slots.ts';
import { matricesOf } from './linear-slots.ts';
import { matvecGrid, matvecKernel } from './matvec.wgsl.ts';

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

const bindingAlignmentBytes = 256;

/** Places the outputs in one buffer, each at an offset that can be bound alone, and names them by their stretches of it. */
function packOutputs(lowering: Lowering, outputs: readonly Tensor[], label: string): { y: BufferView; segments: LinearSegment[] } {
  const segments: LinearSegment[] = [];
  let [begin, offset] = [0, 0];
  const stretches = outputs.map((output) => {
    const stride = output.shape.at(-1)!;
    segments.push({ begin, end: begin + stride, offset, stride });
    const stretch = { offsetBytes: offset * 4, bytes: elementCount(output.shape) * 4 };
    begin += stride;
    offset = (Math.ceil((offset * 4 + stretch.bytes) / bindingAlignmentBytes) * bindingAlignmentBytes) / 4;
    return stretch;
  });
  const last = stretches.at(-1)!;
  const y = lowering.scratch(last.offsetBytes + last.bytes, label);
  outputs.forEach((output, i) => lowering.alias(output, { ...y, ...stretches[i]! }));
  return { y, segments };
}

/** Chooses the kernel for each part of the weight and appends its dispatch. */
export function lowerLinear(lowering: Lowering, plan: LinearPlan): void {
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
  for (const part of parts) {
    const readRows = part.rowEnd - part.rowBegin;
    const slots: LinearSlots = {
      format: first.format,
      rows,
      width,
      outputs: gate === undefined ? readRows : readRows / 2,
      rowOffset: part.rowOffset,
      segments: packed?.segments ?? [{ begin: 0, end: readRows, offset: part.rowBegin, stride }],
      biases: biasParts.map((bias) => bias && part.rowBegin + bias.rowOffset * bias.width),
      ...(norm ? { norm: { epsilon: norm.epsilon, offset: norm.offset, gainRow: gain?.rowOffset } } : {}),
      ...(gate === undefined ? {} : { gate }),
      residual: residual !== undefined,
    };
    const cut = matvecCut(linearDeviceKind(lowering.device), slots);
    const kernel = matvecKernel(slots, cut);
    const weightTotal = weightBytes(first.format, readRows, width);
    const outputCount = rows * slots.outputs;
    lowering.dispatch(kernel, {
      constants: { slots, cut },
      bindings: {
        x: lowering.tensor(x),
        codes: part.codes,
        ...(part.scales ? { scales: part.scales } : {}),
        ...(gain ? { gain: gain.codes } : {}),
        ...Object.fromEntries(biasParts.flatMap((bias, i) => (bias ? [[`bias${i}`, bias.codes]] : []))),
        ...(residual ? { residual: lowering.tensor(residual) } : {}),
        y,
      },
      workgroups: grid(matvecGrid(slots, cut).workgroups),
      label: `${name}: ${kernel.name}`,
      bytes: weightTotal.codes + weightTotal.scales + 4 * (elementCount(x.shape) + outputCount),
      flops: 2 * outputCount * matricesOf(slots) * width,
    });
  }
}
