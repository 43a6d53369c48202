import { defineOperation } from '../../graph/operation.ts';

/** The same elements in another shape. Costs nothing: both tensors are one buffer. */
export const reshape = defineOperation<{ readonly shape: readonly number[] }>({
  name: 'reshape',
  infer: ([x], { shape }) => [{ shape, dtype: (x as { dtype: 'f32' | 'u32' | 'i32' }).dtype }],
  reference: ([x], { shape }) => [{ shape, dtype: x!.dtype, data: x!.data }],
  renames: true,
  lower: (lowering, node) => lowering.alias(node.outputs[0]!, lowering.tensor(node.operands[0]!)),
});
