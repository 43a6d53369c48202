import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import { elementCount, shapeText } from '../../graph/dtype.ts';
import type { Graph } from '../../graph/graph.ts';
import type { NdArray } from '../../graph/operation.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import type { RopeFrequencies } from './frequencies.ts';
import { ropeTable } from './frequencies.ts';
import { rotateReference } from './rope.reference.ts';
import type { RopeLayout } from './rope.wgsl.ts';
import { ropeBySpanKernel, ropeKernel } from './rope.wgsl.ts';
import { turnSteps } from './turn.wgsl.ts';

/** What the operation was called with. Operands: x, positions, steps, and spans where the speeds follow the length. */
export interface RopeAttributes {
  readonly frequencies: RopeFrequencies;
  readonly layout: RopeLayout;
}

/** Rotates the pairs of each head by position. */
export const ropeOperation = defineOperation<RopeAttributes>({
  name: 'rope',
  infer: ([x]) => [{ shape: (x as Tensor).shape, dtype: 'f32' }],
  reference([x, positions, , spans], { frequencies, layout }) {
    const headDim = x!.shape.at(-1)!;
    const perRow = elementCount(x!.shape) / x!.shape[0]!;
    const data = x!.data.slice();
    for (let row = 0; row < x!.shape[0]!; row++) {
      const table = spans ? ropeTable(frequencies, spans.data[row]!) : 0;
      for (let start = row * perRow; start < (row + 1) * perRow; start += headDim) {
        rotateReference(data.subarray(start, start + headDim), {
          frequencies,
          layout,
          table,
          position: positions!.data[row]!,
        });
      }
    }
    return [{ shape: x!.shape, dtype: 'f32', data } satisfies NdArray];
  },
  lower(lowering, node) {
    const [x, positions, steps, spans] = node.operands as readonly Tensor[];
    const { frequencies, layout } = node.attributes;
    const [rows, heads, headDim] = x!.shape as [number, number, number];
    const items = headDim - frequencies.rotaryWidth / 2;
    const request = {
      constants: { heads, headDim, layout, ...frequencies },
      uniforms: { rows },
      workgroups: grid(Math.ceil((rows * heads * items) / 64)),
      bytes: 8 * rows * heads * headDim,
      flops: 30 * rows * heads * (frequencies.rotaryWidth / 2),
    };
    const bindings = {
      x: lowering.tensor(x!),
      positions: lowering.tensor(positions!),
      steps: lowering.tensor(steps!),
      y: lowering.tensor(node.outputs[0]!),
    };
    if (spans)
      lowering.dispatch(ropeBySpanKernel, { ...request, bindings: { ...bindings, spans: lowering.tensor(spans) } });
    else lowering.dispatch(ropeKernel, { ...request, bindings });
  },
});

const stepsOfGraph = new WeakMap<Graph, Map<RopeFrequencies, Tensor>>();

/** The table of speeds as a constant of `graph`, one for all layers that share it. */
function stepsTensor(graph: Graph, frequencies: RopeFrequencies): Tensor {
  const known = stepsOfGraph.get(graph) ?? new Map<RopeFrequencies, Tensor>();
  stepsOfGraph.set(graph, known);
  const steps =
    known.get(frequencies) ?? graph.constant(turnSteps(frequencies.radians), [frequencies.radians.length, 2]);
  known.set(frequencies, steps);
  return steps;
}

/**
 * Rotary position embedding: pair i of each head is turned by `position * speed_i`, `(a, b) -> (a cos - b sin, a sin + b cos)`,
 * cosines and sines times the attention factor. Angles are reduced in exact fixed-point arithmetic, so that error does not grow with
 * the position. Su et al. 2021, "RoFormer".
 *
 * @param x - `[M, H, E]` f32 heads.
 * @param positions - `[M]` u32.
 * @param frequencies - Speeds, from {@link ropeFrequencies}.
 * @param options - `spans`: `[M]` u32, the length of the sequence that each row adapts to, for speeds that depend on it.
 * `interleaved`: pairs are neighbours (2i, 2i + 1), not (i, i + width / 2).
 * @returns `[M, H, E]` f32; elements past the rotated width are unchanged.
 * @throws {@link ShapeError} if shapes do not fit; {@link ArgumentError} if `spans` is missing where the speeds need it.
 */
export function rope(
  x: Tensor,
  positions: Tensor,
  frequencies: RopeFrequencies,
  options: { readonly spans?: Tensor; readonly interleaved?: boolean } = {},
): Tensor {
  if (x.shape.length !== 3 || x.shape[2]! < frequencies.rotaryWidth) {
    throw new ShapeError(
      `rope: expected x as [M, H, E] with E >= ${frequencies.rotaryWidth}, the rotated width; got ${shapeText(x.shape)}.`,
    );
  }
  const needsSpans = frequencies.tables > 1;
  if (needsSpans && !options.spans) {
    throw new ArgumentError(
      'rope: these speeds follow the length of the sequence; pass `spans`, the length for each row.',
    );
  }
  const perRow = [positions, ...(needsSpans ? [options.spans!] : [])];
  for (const tensor of perRow) {
    if (tensor.dtype !== 'u32')
      throw new DTypeError(`rope: expected positions and spans as u32, got ${tensor.dtype}; convert with .to('u32').`);
    if (elementCount(tensor.shape) !== x.shape[0]) {
      throw new ShapeError(
        `rope: expected one position (and span) for each of ${x.shape[0]} rows, got ${shapeText(tensor.shape)}.`,
      );
    }
  }
  if (x.dtype !== 'f32') throw new DTypeError(`rope: expected x as f32, got ${x.dtype}.`);
  const steps = stepsTensor(x.graph, frequencies);
  const operands = [x, positions, steps, ...(needsSpans ? [options.spans!] : [])];
  return x.graph.apply(ropeOperation, operands, {
    frequencies,
    layout: options.interleaved ? 'interleaved' : 'halves',
  })[0]!;
}
