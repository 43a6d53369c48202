import type { Lowering, PreparedForm } from '../../compile/lowering.ts';
import type { GraphNode } from '../../graph/graph.ts';
import { rowBuffers, rowFormOf } from '../linear/lower-linear.ts';
import { rowUnit } from '../linear/prepared-rows.wgsl.ts';
import { combineKernel, combineLanes } from './combine.wgsl.ts';
import type { Grid } from '../../kernel/grid.ts';
import type { AttentionFamily } from './family.ts';
import { partialStride, spanChains, splitAccess, splitPlan } from './family.ts';
import type { AttentionAttributes } from './operands.ts';
import { attentionOperands, attentionSizes } from './operands.ts';
import type { SplitDispatch } from './split-question.ts';
import { splitQuestion, splitText } from './split-question.ts';
import { splitKernel } from './split.wgsl.ts';

/** Whether the combine kernel can write its output in a form: each head whole units of a row. */
export function splitOffers(
  { operands, outputs, attributes }: GraphNode<AttentionAttributes>,
  form: PreparedForm,
): boolean {
  const [, heads, valueDim] = outputs[0]!.shape as readonly [number, number, number];
  const { begins, sinks } = attentionOperands(operands, attributes);
  // Partials, depths, count, what there is of begins and sinks, the values; and rows with their gain.
  const bindings = 4 + (begins ? 1 : 0) + (sinks ? 1 : 0) + (form.norm?.gain ? 2 : 1);
  return heads * valueDim === form.width && valueDim % rowUnit[form.arithmetic] === 0 && bindings <= 8;
}

/** Appends the partial and the combine kernel, once for each pass of rows. */
export function lowerSplit(lowering: Lowering, node: GraphNode<AttentionAttributes>, own: AttentionFamily): void {
  const { q, keys, values, depths, count, length, path, begins, sinks } = attentionOperands(
    node.operands,
    node.attributes,
  );
  const sizes = attentionSizes(node);
  const { rows, heads, kvHeads, keyDim, valueDim, capacity, packed, ring } = sizes;
  const { scale, softcap } = node.attributes;
  const score = { scale, ...(softcap === undefined ? {} : { softcap }) };
  const sinkPart = sinks && lowering.weight(sinks)[0]!;
  const known = (bound: number) => (bound > 0 ? Math.min(bound, capacity) : capacity);
  const wanted = lowering.wanted(node.outputs[0]!);
  const written = wanted && { form: rowFormOf(lowering, wanted.form), plain: wanted.plain };
  const combine = combineKernel({ valueDim, sinks: sinkPart !== undefined, begins: begins !== undefined, written });

  /** The kernels of one pass of rows in a cut. */
  const passOf = (family: AttentionFamily, rowBegin: number) => {
    const plan = splitPlan(sizes, family);
    const passRows = Math.min(plan.passRows, rows - rowBegin);
    const { groupHeads, groupRows, headBlocks, headSlots, tailSlots, partialsOf } = plan;
    const constants = { ...family, spanGroups: spanChains(family, valueDim), heads, valueDim, window: sizes.window };
    const uniforms = { rowBegin, passRows: plan.passRows, headBlocks, headSlots, tailSlots, capacity };
    return {
      passRows,
      partialsOf: (bound: number) => partialsOf(known(bound)),
      split: {
        kernel: splitKernel({ ...splitAccess(sizes, family), tree: path !== undefined, begins: begins !== undefined }),
        constants: { ...constants, kvHeads, keyDim, ring, groupHeads, groupRows, score },
        uniforms: { ...uniforms, rows: rowBegin + passRows, maxDepth: sizes.maxDepth ?? 0 },
        workgroups: (bound: number): Grid => [
          Math.ceil(passRows / groupRows),
          heads / groupHeads,
          partialsOf(known(bound)),
        ],
      },
      combine: {
        kernel: combine,
        constants: { ...constants, lanes: combineLanes(family, valueDim), ...(written ? { written } : {}) },
        uniforms: { ...uniforms, sinkBegin: sinkPart ? sinkPart.rowOffset * heads : 0 },
        workgroups: (): Grid => [heads, passRows, 1],
      },
    };
  };

  const dispatches = (family: AttentionFamily): SplitDispatch[] => {
    const { split, combine: last } = passOf(family, 0);
    return [split, { ...last, uniforms: { ...last.uniforms, sinkBegin: 0 } }] as unknown as SplitDispatch[];
  };
  // A family that was asked for is taken as it is.
  const family =
    node.attributes.family === undefined && lowering.choices
      ? lowering.choices.pick(splitQuestion({ sizes, family: own, dispatches }))
      : own;
  const plan = splitPlan(sizes, family);
  const partials = lowering.scratch(plan.partialBytes, 'attention partials');
  const cacheBytes = (4 / (packed ? 2 : 1)) * kvHeads * (keyDim + valueDim);
  for (let rowBegin = 0; rowBegin < rows; rowBegin += plan.passRows) {
    const { split, combine: last, passRows, partialsOf } = passOf(family, rowBegin);
    lowering.dispatch(split.kernel, {
      ...split,
      choice: splitText(family),
      bindings: {
        q: lowering.tensor(q),
        keys: lowering.state(keys),
        values: lowering.state(values),
        depths: lowering.tensor(depths),
        count: lowering.tensor(count),
        ...(path ? { length: lowering.tensor(length), path: lowering.tensor(path) } : {}),
        ...(begins ? { begins: lowering.tensor(begins) } : {}),
        partials,
      },
      bytes: (bound) => known(bound) * cacheBytes,
      flops: (bound) => 2 * passRows * known(bound) * heads * (keyDim + valueDim),
    });
    lowering.dispatch(last.kernel, {
      ...last,
      bindings: {
        partials,
        depths: lowering.tensor(depths),
        count: lowering.tensor(count),
        ...(begins ? { begins: lowering.tensor(begins) } : {}),
        ...(sinkPart ? { sinks: sinkPart.codes } : {}),
        ...(wanted ? rowBuffers(lowering, wanted.form, wanted.rows) : {}),
        ...(wanted?.plain === false ? {} : { y: lowering.tensor(node.outputs[0]!) }),
      },
      bytes: (bound) => passRows * heads * partialStride(valueDim) * 4 * partialsOf(bound),
    });
  }
}
