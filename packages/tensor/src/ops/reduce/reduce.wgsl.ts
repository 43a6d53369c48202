import { ArgumentError } from '../../errors.ts';
import type { DType } from '../../graph/dtype.ts';
import { rowCount, rowWidth } from '../../graph/dtype.ts';
import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { activationWgsl } from '../../wgsl/activation.ts';
import { extremesWgsl, workgroupReduceWgsl } from '../../wgsl/reduce.ts';
import { inputNames, offsetWgsl } from '../elementwise/elementwise.wgsl.ts';
import type { Expression } from '../elementwise/expression.ts';
import { wgsl } from '../elementwise/expression.ts';

/** What a row is reduced to. */
export type ReduceKind = 'sum' | 'mean' | 'max' | 'min' | 'prod';

interface Reducer {
  /** Value that a lane starts from; `first` is the row's first element, which max and min may count twice. */
  readonly start: (dtype: DType) => string;
  /** WGSL expression that combines `a` and `b`. */
  readonly combine: (dtype: DType) => string;
  readonly finish: (width: number) => string;
}

const asIs = () => 'result';
const extreme = (name: 'max' | 'min'): Reducer => ({
  start: () => 'first',
  combine: (dtype) => (dtype === 'f32' ? `${name}OrNan(a, b)` : `${name}(a, b)`),
  finish: asIs,
});
const reducers: Readonly<Record<ReduceKind, Reducer>> = {
  sum: { start: (dtype) => `${dtype}(0)`, combine: () => 'a + b', finish: asIs },
  mean: { start: () => '0.0', combine: () => 'a + b', finish: (width) => `result / ${width}.0` },
  prod: { start: (dtype) => `${dtype}(1)`, combine: () => 'a * b', finish: asIs },
  max: extreme('max'),
  min: extreme('min'),
};

/** Compile-time constants of the generated kernels. */
export interface ReduceConstants {
  readonly kind: ReduceKind;
  /** Formula of an element of the row, over the inputs. */
  readonly expression: Expression;
  /** Shape that the inputs broadcast to, the reduced axis last. */
  readonly shape: readonly number[];
  readonly strides: readonly (readonly number[])[];
  readonly lanes: number;
}

const head = (lanes: number) => /* wgsl */ `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {`;

const wide = (c: ReduceConstants, { start, finish }: { start: string; finish: string }) => {
  const { dtype } = c.expression;
  const combine = reducers[c.kind].combine(dtype);
  return /* wgsl */ `
${workgroupReduceWgsl({ name: 'folded', type: dtype, lanes: c.lanes, combine })}
${head(c.lanes)}
  let row = ${linearWorkgroupWgsl};
  if (row >= ${rowCount(c.shape)}u) { return; }
  let begin = row * ${rowWidth(c.shape)}u;
  let first = value(begin);
  var own = ${start};
  for (var i = lane; i < ${rowWidth(c.shape)}u; i += ${c.lanes}u) { own = foldedCombine(own, value(begin + i)); }
  let result = folded(lane, own);
  if (lane == 0u) { y[row] = ${finish}; }
}`;
};

const narrow = (c: ReduceConstants, { start, finish }: { start: string; finish: string }) => {
  const { dtype } = c.expression;
  return /* wgsl */ `
fn foldedCombine(a: ${dtype}, b: ${dtype}) -> ${dtype} { return ${reducers[c.kind].combine(dtype)}; }
${head(c.lanes)}
  let row = ${linearWorkgroupWgsl} * ${c.lanes}u + lane;
  if (row >= ${rowCount(c.shape)}u) { return; }
  let begin = row * ${rowWidth(c.shape)}u;
  let first = value(begin);
  var result = ${start};
  for (var i = 0u; i < ${rowWidth(c.shape)}u; i++) { result = foldedCombine(result, value(begin + i)); }
  y[row] = ${finish};
}`;
};

/** How rows are shared out: a workgroup a row, or a lane a row where rows are short. */
export const reduceLayouts = { wide, narrow } as const;

/** The generated kernel for inputs of these dtypes. */
export function reduceKernel(inputs: readonly DType[], output: DType, layout: keyof typeof reduceLayouts) {
  if (inputs.length > inputNames.length) {
    throw new ArgumentError(`A reduction reads at most ${inputNames.length} tensors, got ${inputs.length}.`);
  }
  const bindings: Record<string, Binding> = {};
  inputs.forEach((dtype, i) => (bindings[inputNames[i]!] = read(dtype)));
  bindings['y'] = write(output);
  return defineKernel({
    name: `reduce-${layout}-${inputs.join('-')}-${output}`,
    bindings,
    wgsl: (c: ReduceConstants) => {
      const { start, finish } = reducers[c.kind];
      return /* wgsl */ `
${activationWgsl}
${extremesWgsl}
fn value(i: u32) -> ${output} {
${inputs.map((_, k) => `  let x${k} = ${inputNames[k]}[${offsetWgsl(c.shape, c.strides[k]!)}];`).join('\n')}
  return ${wgsl(
    c.expression,
    inputs.map((_, k) => `x${k}`),
  )};
}
${reduceLayouts[layout](c, { start: start(output), finish: finish(rowWidth(c.shape)) })}`;
    },
  });
}
