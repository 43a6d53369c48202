import type { BufferView } from '../../compile/lowering.ts';
import { ArgumentError } from '../../errors.ts';
import type { NdArray, Operand } from '../../graph/operation.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { appendOperation } from '../append/append.ts';
import type { RmsNormAttributes } from '../rms-norm/rms-norm.ts';
import { rmsNormOperation } from '../rms-norm/rms-norm.ts';
import type { RopeAttributes } from '../rope/rope.ts';
import { ropeOperation } from '../rope/rope.ts';
import { ropeAppendKernel } from './rope-append.wgsl.ts';

/** What is fused: the rotation of q and k, and where they are normed first, that norm. */
export interface RopeAppendAttributes extends RopeAttributes {
  readonly norm?: RmsNormAttributes;
  readonly bySpan: boolean;
}

/** The parts of an application. */
export interface RopeAppendOperands<T> {
  readonly q: T;
  readonly k: T;
  readonly v: T;
  readonly positions: T;
  readonly steps: T;
  readonly slots: T;
  readonly count: T;
  readonly keys: T;
  readonly values: T;
  readonly spans: T | undefined;
  readonly queryGain: T | undefined;
  readonly keyGain: T | undefined;
}

/** Operands in their order. */
export function ropeAppendList(o: RopeAppendOperands<Operand>): readonly Operand[] {
  const always = [o.q, o.k, o.v, o.positions, o.steps, o.slots, o.count, o.keys, o.values];
  return [...always, ...[o.spans, o.queryGain, o.keyGain].filter((operand) => operand !== undefined)];
}

function named<T>(operands: readonly T[], { bySpan, norm }: RopeAppendAttributes): RopeAppendOperands<T> {
  const [q, k, v, positions, steps, slots, count, keys, values] = operands as readonly [T, T, T, T, T, T, T, T, T];
  const [queryGain, keyGain] = norm ? operands.slice(bySpan ? 10 : 9) : [];
  return {
    q,
    k,
    v,
    positions,
    steps,
    slots,
    count,
    keys,
    values,
    spans: bySpan ? operands[9] : undefined,
    queryGain,
    keyGain,
  };
}

/** Invocations of a workgroup: one for a pair of a head of 128, few where barriers are dear. */
const lanesOf = { hardware: 64, software: 8 } as const;

/**
 * `q' = rope(norm(q))`, and `rope(norm(k))` and v written to the rows' slots of a cache; the norms are optional. What fusion makes of
 * those operations where q, k and v come out of one buffer; q' takes the place of q there.
 */
export const ropeAppendOperation = defineOperation<RopeAppendAttributes>({
  name: 'rope-append',
  writes: [7, 8],
  infer: ([q]) => [{ shape: (q as Tensor).shape, dtype: 'f32' }],
  reference(operands, attributes) {
    const o = named<NdArray>(operands, attributes);
    const turn = (x: NdArray, gain: NdArray | undefined) => {
      const normed = attributes.norm ? rmsNormOperation.reference(gain ? [x, gain] : [x], attributes.norm)[0]! : x;
      return ropeOperation.reference([normed, o.positions, o.steps, ...(o.spans ? [o.spans] : [])], attributes)[0]!;
    };
    appendOperation.reference([turn(o.k, o.keyGain), o.v, o.slots, o.count, o.keys, o.values], {});
    return [turn(o.q, o.queryGain)];
  },
  lower(lowering, node) {
    const { attributes } = node;
    const { frequencies, layout, norm, bySpan } = attributes;
    const o = named<Operand>(node.operands, attributes);
    const [rows, heads, headDim] = (o.q as Tensor).shape as [number, number, number];
    const [, kvHeads, valueDim] = (o.v as Tensor).shape as [number, number, number];
    const views = [o.q, o.k, o.v].map((operand) => lowering.tensor(operand));
    const [q, k, v] = views as [BufferView, BufferView, BufferView];
    if (views.some(({ source }) => source !== q.source)) {
      throw new ArgumentError('rope-append: expected q, k and v as stretches of one buffer.');
    }
    const gains = norm && lowering.weights([o.queryGain, o.keyGain] as Weight[]);
    if (norm && !gains) throw new ArgumentError('rope-append: expected the gains of q and k next to each other.');
    const cache = o.keys as State;
    const packed = cache.dtype === 'u32';
    const kernel = ropeAppendKernel({ normed: norm !== undefined, bySpan, packed });
    const begin = ({ offsetBytes = 0 }: BufferView) => offsetBytes / 4;
    const elements = rows * (heads * headDim + kvHeads * (headDim + valueDim));
    lowering.dispatch(kernel, {
      constants: {
        lanes: lanesOf[lowering.device.adapter.kind],
        heads,
        kvHeads,
        headDim,
        valueDim,
        layout,
        ...frequencies,
      },
      uniforms: {
        rows,
        capacity: cache.shape[0]!,
        queryBegin: begin(q),
        keyBegin: begin(k),
        valueBegin: begin(v),
        queryGain: (gains?.rowOffset ?? 0) * headDim,
        keyGain: ((gains?.rowOffset ?? 0) + 1) * headDim,
        epsilon: norm?.epsilon ?? 0,
        gainOffset: norm?.offset ?? 0,
      },
      bindings: {
        x: { source: q.source },
        positions: lowering.tensor(o.positions),
        steps: lowering.tensor(o.steps),
        slots: lowering.tensor(o.slots),
        count: lowering.tensor(o.count),
        keys: lowering.state(o.keys),
        values: lowering.state(o.values),
        ...(gains ? { gains: gains.codes } : {}),
        ...(o.spans ? { spans: lowering.tensor(o.spans) } : {}),
      },
      workgroups: [heads + 2 * kvHeads, rows, 1],
      bytes: 8 * elements,
      flops: 20 * elements,
    });
    lowering.alias(node.outputs[0]!, q);
  },
});
